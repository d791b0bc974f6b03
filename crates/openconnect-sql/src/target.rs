//! Connection strings, native and in `jdbc:` form.

#[cfg(feature = "sqlite")]
use std::path::PathBuf;

#[cfg(any(feature = "postgres", feature = "mysql"))]
use crate::address::Address;
use crate::dialect::Dialect;
use crate::login::{Login, Server};

/// What a connection string names.
#[derive(Debug, Clone)]
pub struct Target {
    pub(crate) place: Place,
    #[cfg_attr(
        not(any(feature = "postgres", feature = "mysql")),
        expect(dead_code, reason = "a file has no login")
    )]
    pub(crate) login: Login,
}

/// Where a database is: only what a driver in this build can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    #[cfg(feature = "postgres")]
    Postgres(Address),
    #[cfg(feature = "mysql")]
    MySql(Address),
    #[cfg(feature = "sqlite")]
    File(PathBuf),
}

impl Target {
    /// Parses `postgresql://host/database`, `mysql://…`, `mariadb://…`, `sqlite:///path`, each also after `jdbc:`. User and
    /// password may stand in it, before the host or as parameters; `login` goes first. The reason never repeats the string: it
    /// may hold a password.
    pub fn parse(url: &str, login: Login) -> Result<Self, String> {
        let native = url.strip_prefix("jdbc:").unwrap_or(url);
        let Some((scheme, _)) = native.split_once(':') else {
            return Err("is no connection string; write for instance postgresql://host/database or sqlite:///path/file.db".into());
        };
        let (place, login) = match scheme {
            #[cfg(feature = "postgres")]
            "postgresql" | "postgres" => Address::parse(5432, native, login).map(|(address, login)| (Place::Postgres(address), login))?,
            #[cfg(feature = "mysql")]
            "mysql" | "mariadb" => Address::parse(3306, native, login).map(|(address, login)| (Place::MySql(address), login))?,
            #[cfg(feature = "sqlite")]
            "sqlite" => (Place::File(in_file(native, &login)?), login),
            _ => return Err(unsupported(scheme)),
        };
        Ok(Self { place, login })
    }

    /// The dialect of this kind of database.
    pub fn dialect(&self) -> Dialect {
        match &self.place {
            #[cfg(feature = "postgres")]
            Place::Postgres(_) => Dialect::Postgres,
            #[cfg(feature = "mysql")]
            Place::MySql(_) => Dialect::MySql,
            #[cfg(feature = "sqlite")]
            Place::File(_) => Dialect::Sqlite,
        }
    }

    /// The server, for a client that connects to it in another way; none for a file.
    pub fn server(&self) -> Option<Server<'_>> {
        match &self.place {
            #[cfg(feature = "postgres")]
            Place::Postgres(address) => Some(address.with(&self.login)),
            #[cfg(feature = "mysql")]
            Place::MySql(address) => Some(address.with(&self.login)),
            #[cfg(feature = "sqlite")]
            Place::File(_) => None,
        }
    }

    /// Where it is, for people and event sources: no user, no password.
    pub fn name(&self) -> String {
        match &self.place {
            #[cfg(feature = "postgres")]
            Place::Postgres(address) => format!("postgresql://{address}"),
            #[cfg(feature = "mysql")]
            Place::MySql(address) => format!("mysql://{address}"),
            #[cfg(feature = "sqlite")]
            Place::File(path) => format!("sqlite://{}", path.display()),
        }
    }
}

/// Why there is no driver for a connection string of this scheme.
fn unsupported(scheme: &str) -> String {
    let driver = match scheme {
        "postgresql" | "postgres" => Some("postgres"),
        "mysql" | "mariadb" => Some("mysql"),
        "sqlite" => Some("sqlite"),
        _ => None,
    };
    if let Some(driver) = driver {
        return format!("is {scheme}, but the driver `{driver}` is not in this build; build with the Cargo feature `{driver}`");
    }
    let known = ["oracle", "sqlserver", "db2", "h2"].iter().find(|name| **name == scheme);
    let name = known.map_or("this kind of database".to_owned(), |name| format!("`{name}`"));
    format!("{name} is not supported; postgresql, mysql, mariadb and sqlite are")
}

#[cfg(feature = "sqlite")]
fn in_file(native: &str, login: &Login) -> Result<PathBuf, String> {
    let rest = native.strip_prefix("sqlite:").unwrap_or(native);
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.contains('?') {
        return Err("has parameters; use the settings of this section instead".into());
    }
    if path.is_empty() || path == ":memory:" {
        return Err("must name a file: a database in memory is gone with the process".into());
    }
    if login.user.is_some() || login.password.is_some() || login.tls.is_some() {
        return Err("names a file, which has no user, password or TLS".into());
    }
    Ok(path.into())
}

#[cfg(all(test, feature = "postgres", feature = "mysql", feature = "sqlite"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::login::{SqlTls, TlsMode};

    fn parse(url: &str) -> Result<Target, String> {
        Target::parse(url, Login::default())
    }

    #[test]
    fn native_and_jdbc_forms_name_the_same() {
        for url in ["sqlite:///tmp/a.db", "sqlite:/tmp/a.db", "jdbc:sqlite:/tmp/a.db"] {
            assert_eq!(parse(url).unwrap().place, Place::File("/tmp/a.db".into()), "{url}");
        }
        for url in [
            "postgresql://me:p%40ss+w@db/shop",
            "jdbc:postgresql://db:5432/shop?user=me&password=p%40ss%2Bw",
        ] {
            let target = parse(url).unwrap();
            assert_eq!(target.name(), "postgresql://db:5432/shop");
            assert_eq!(target.login.user.as_deref(), Some("me"));
            assert_eq!(target.login.password.unwrap().expose(), "p@ss+w");
        }
        assert_eq!(parse("jdbc:mariadb://[::1]/d").unwrap().name(), "mysql://::1:3306/d");
    }

    #[test]
    fn a_server_on_another_machine_must_show_its_certificate() {
        let mode = |url: &str, tls: Option<SqlTls>| {
            let login = Login { tls, ..Login::default() };
            Target::parse(url, login).unwrap().login.tls.map(|tls| tls.mode)
        };
        for scheme in ["postgresql", "mysql", "jdbc:mariadb"] {
            for host in ["db", "db.example.org", "10.0.0.1"] {
                assert_eq!(mode(&format!("{scheme}://{host}/shop"), None), Some(TlsMode::VerifyFull), "{host}");
            }
            for host in ["localhost", "127.0.0.1", "[::1]"] {
                assert_eq!(mode(&format!("{scheme}://{host}/shop"), None), None, "{host}");
            }
        }
        let disabled = SqlTls {
            mode: TlsMode::Disable,
            ..SqlTls::default()
        };
        assert_eq!(mode("postgresql://db/shop", Some(disabled)), Some(TlsMode::Disable));
    }

    #[test]
    fn what_cannot_be_is_refused_without_repeating_secrets() {
        for url in [
            "sqlite::memory:",
            "jdbc:oracle:thin:u/secret@h",
            "mysql://u:secret@h",
            "postgresql://u:secret@h/d?sslmode=require",
            "jdbc:mysql:secret",
        ] {
            let reason = parse(url).unwrap_err();
            assert!(!reason.contains("secret"), "{reason}");
        }
    }
}

#[cfg(all(test, not(feature = "mysql")))]
mod with_other_drivers {
    use super::*;

    #[test]
    fn a_database_whose_driver_is_not_in_the_build_is_refused_by_name() {
        let refused = Target::parse("jdbc:mariadb://u:secret@db/shop", Login::default()).err();
        let reason = refused.unwrap_or_default();
        assert!(
            reason.contains("the driver `mysql` is not in this build") && !reason.contains("secret"),
            "{reason}"
        );
    }
}
