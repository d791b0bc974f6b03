//! A database on a server, out of its URL.

use std::fmt;

use openconnect_core::secret::Secret;
use openconnect_core::tls::is_loopback;
use url::Url;

use crate::login::{Login, Server, SqlTls};

/// A database on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: String,
}

impl Address {
    /// The address and the login that a URL names; `port` is the default.
    pub(crate) fn parse(port: u16, native: &str, mut login: Login) -> Result<(Self, Login), String> {
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
            login.password = password.and_then(Secret::new);
        }
        if let Some(tls) = &login.tls
            && tls.cert_file.is_some() != tls.key_file.is_some()
        {
            return Err("needs tls.cert_file and tls.key_file together, or neither".into());
        }
        // Beyond this machine anybody could be on the way, and pretend to be the server.
        if login.tls.is_none() && !is_loopback(&host) {
            login.tls = Some(SqlTls::default());
        }
        let address = Self {
            host,
            port: url.port().unwrap_or(port),
            database,
        };
        Ok((address, login))
    }

    /// The server, with who logs in.
    pub(crate) fn with<'a>(&'a self, login: &'a Login) -> Server<'a> {
        Server {
            host: &self.host,
            port: self.port,
            database: &self.database,
            login,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.host, self.port, self.database)
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
