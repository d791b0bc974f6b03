//! Connection strings, native and in `jdbc:` form; login and TLS.

use std::path::PathBuf;

use openconnect_core::secret::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::dialect::Dialect;

/// Who logs in, where the connection string does not say it.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// The user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// TLS; none: what the server offers is taken, and nothing is verified.
    pub tls: Option<SqlTls>,
}

/// TLS to a database.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SqlTls {
    /// How much is asked of the server. Default `verify-full`.
    pub mode: TlsMode,
    /// PEM file with the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client's certificate chain (mTLS).
    pub cert_file: Option<PathBuf>,
    /// PEM file with the client's key (mTLS).
    pub key_file: Option<PathBuf>,
}

/// How much is asked of the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS without a look at the certificate: safe from those who listen, not from those who pretend.
    Require,
    /// The certificate must come from a known authority.
    VerifyCa,
    /// And it must be for the host.
    #[default]
    VerifyFull,
}

/// What a connection string names.
#[derive(Debug, Clone)]
pub struct Target {
    pub(crate) place: Place,
    pub(crate) login: Login,
}

/// A database on a server.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a> {
    /// Name or address.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// The database there.
    pub database: &'a str,
    /// Who logs in.
    pub login: &'a Login,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    File(PathBuf),
    Server {
        dialect: Dialect,
        host: String,
        port: u16,
        database: String,
    },
}

impl Target {
    /// Parses `postgresql://host/database`, `mysql://…`, `mariadb://…`, `sqlite:///path`, each also after `jdbc:`. User and
    /// password may stand in it, before the host or as parameters; `login` goes first. The reason never repeats the string: it
    /// may hold a password.
    pub fn parse(url: &str, login: Login) -> Result<Self, String> {
        let native = url.strip_prefix("jdbc:").unwrap_or(url);
        let Some((scheme, rest)) = native.split_once(':') else {
            return Err("is no connection string; write for instance postgresql://host/database or sqlite:///path/file.db".into());
        };
        let (dialect, port) = match scheme {
            "sqlite" => return Self::in_file(rest, login),
            "postgresql" | "postgres" => (Dialect::Postgres, 5432),
            "mysql" | "mariadb" => (Dialect::MySql, 3306),
            _ => {
                let known = ["oracle", "sqlserver", "db2", "h2"].iter().find(|name| **name == scheme);
                let name = known.map_or("this kind of database".to_owned(), |name| format!("`{name}`"));
                return Err(format!("{name} is not supported; postgresql, mysql, mariadb and sqlite are"));
            }
        };
        Self::on_server(dialect, port, native, login)
    }

    fn in_file(rest: &str, login: Login) -> Result<Self, String> {
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
        Ok(Self {
            place: Place::File(path.into()),
            login,
        })
    }

    fn on_server(dialect: Dialect, port: u16, native: &str, mut login: Login) -> Result<Self, String> {
        let url = Url::parse(native).map_err(|e| format!("is no connection string: {e}"))?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("names no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let database = decoded(url.path().trim_start_matches('/'))?;
        if database.is_empty() || database.contains('/') {
            return Err("must end with /database".into());
        }
        let (mut user, mut password) = (decoded(url.username())?, url.password().map(decoded).transpose()?);
        for (name, value) in url.query_pairs() {
            match &*name {
                "user" => user = value.into_owned(),
                "password" => password = Some(value.into_owned()),
                // A driver's parameters often are not what they seem in another driver.
                _ => {
                    let name: String = name.chars().take(40).collect();
                    return Err(format!(
                        "has the parameter `{name}`; use the settings of this section (tls, user, password, …) instead"
                    ));
                }
            }
        }
        if login.user.is_none() && !user.is_empty() {
            login.user = Some(user);
        }
        if login.password.is_none() {
            login.password = password.map(Secret::new);
        }
        if let Some(tls) = &login.tls
            && tls.cert_file.is_some() != tls.key_file.is_some()
        {
            return Err("needs tls.cert_file and tls.key_file together, or neither".into());
        }
        Ok(Self {
            place: Place::Server {
                dialect,
                host,
                port: url.port().unwrap_or(port),
                database,
            },
            login,
        })
    }

    /// How this kind of database talks.
    pub fn dialect(&self) -> Dialect {
        match &self.place {
            Place::File(_) => Dialect::Sqlite,
            Place::Server { dialect, .. } => *dialect,
        }
    }

    /// The server, for who connects to it in another way; none for a file.
    pub fn server(&self) -> Option<Server<'_>> {
        match &self.place {
            Place::File(_) => None,
            Place::Server { host, port, database, .. } => Some(Server {
                host,
                port: *port,
                database,
                login: &self.login,
            }),
        }
    }

    /// Where it is, for people and event sources: no user, no password.
    pub fn name(&self) -> String {
        match &self.place {
            Place::File(path) => format!("sqlite://{}", path.display()),
            Place::Server {
                dialect,
                host,
                port,
                database,
            } => format!("{}://{host}:{port}/{database}", dialect.name()),
        }
    }
}

fn decoded(text: &str) -> Result<String, String> {
    // The url crate decodes only what stands in a query.
    let query = format!("a={}", text.replace('+', "%2B").replace('&', "%26"));
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs
        .next()
        .map(|(_, value)| value.into_owned())
        .ok_or_else(|| "is no connection string".into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
