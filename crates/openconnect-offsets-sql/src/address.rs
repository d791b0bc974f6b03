//! The URL in `state.offsets`.

use std::str::FromStr;

use openconnect_core::codes::OFFSETS_REFUSED;
use openconnect_core::tls::is_loopback;
use openconnect_core::{Error, Result};
use sqlx::any::AnyConnectOptions;
use url::Url;

use crate::dialect::{Dialect, MYSQL, POSTGRES, SQLITE};

/// What a URL says: how to connect, in which dialect to speak, and a name for people without the password.
pub(crate) struct Address {
    pub(crate) options: AnyConnectOptions,
    pub(crate) dialect: Dialect,
    pub(crate) place: String,
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once(':').ok_or_else(unsupported)?;
        let (dialect, driver, linked) = match scheme {
            "postgres" | "postgresql" => (POSTGRES, "postgres", cfg!(feature = "postgres")),
            "mysql" | "mariadb" => (MYSQL, "mysql", cfg!(feature = "mysql")),
            "sqlite" => (SQLITE, "sqlite", cfg!(feature = "sqlite")),
            _ => return Err(unsupported()),
        };
        if !linked {
            return Err(Error::config(
                OFFSETS_REFUSED,
                format!("state.offsets is {scheme}://, but the driver `{driver}` is not in this build"),
            )
            .hint(format!(
                "Build with the Cargo feature `{driver}`, or use a database whose driver is in this build."
            )));
        }
        let is_file = scheme == "sqlite";
        let full = if is_file && !rest.contains('?') {
            format!("{url}?mode=rwc")
        } else if is_file {
            url.to_owned()
        } else {
            verified(url).ok_or_else(unsupported)?
        };
        let options = AnyConnectOptions::from_str(&full).map_err(|_| unsupported())?;
        let place = if is_file {
            url.split('?').next().unwrap_or_default().to_owned()
        } else {
            let url = Url::parse(url).map_err(|_| unsupported())?;
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{scheme}://{}{port}{}", url.host_str().unwrap_or_default(), url.path())
        };
        Ok(Self { options, dialect, place })
    }
}

/// The URL, such that a server on another machine must show a valid certificate unless the URL says how much is verified.
fn verified(url: &str) -> Option<String> {
    let mut parsed = Url::parse(url).ok()?;
    let stated = parsed.query_pairs().any(|(name, _)| name == "sslmode" || name == "ssl-mode");
    if !stated && !is_loopback(parsed.host_str()?) {
        let (name, mode) = match parsed.scheme() {
            "mysql" | "mariadb" => ("ssl-mode", "VERIFY_IDENTITY"),
            _ => ("sslmode", "verify-full"),
        };
        parsed.query_pairs_mut().append_pair(name, mode);
        return Some(parsed.into());
    }
    Some(url.to_owned())
}

fn unsupported() -> Error {
    Error::config(OFFSETS_REFUSED, "state.offsets is not the URL of a supported database")
        .hint("Write postgres://user:password@host/database, mysql://user:password@host/database or sqlite:///path/file.db.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_shown_without_login_and_options() {
        for (url, shown) in [
            #[cfg(feature = "postgres")]
            ("postgres://u:secret@db:5433/state?sslmode=require", "postgres://db:5433/state"),
            #[cfg(feature = "mysql")]
            ("mariadb://u:secret@db/state", "mariadb://db/state"),
            #[cfg(feature = "sqlite")]
            ("sqlite:///var/lib/state.db?mode=rwc", "sqlite:///var/lib/state.db"),
        ] {
            assert_eq!(Address::parse(url).ok().map(|address| address.place).as_deref(), Some(shown));
        }
    }

    #[test]
    fn a_server_on_another_machine_must_show_its_certificate() {
        for (url, used) in [
            ("postgres://u:p%40@db/state", "postgres://u:p%40@db/state?sslmode=verify-full"),
            ("mariadb://db/state?a=b", "mariadb://db/state?a=b&ssl-mode=VERIFY_IDENTITY"),
            ("postgres://db/state?sslmode=require", "postgres://db/state?sslmode=require"),
            ("mysql://127.0.0.1/state", "mysql://127.0.0.1/state"),
            ("mysql://localhost:3307/state", "mysql://localhost:3307/state"),
        ] {
            assert_eq!(verified(url).as_deref(), Some(used));
        }
    }

    #[cfg(not(feature = "mysql"))]
    #[test]
    fn a_database_whose_driver_is_not_in_the_build_is_refused_by_name() {
        let refused = Address::parse("mariadb://u:secret@db/state").err().map(|error| error.reason());
        assert_eq!(
            refused.as_deref(),
            Some("state.offsets is mariadb://, but the driver `mysql` is not in this build")
        );
    }
}
