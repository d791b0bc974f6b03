//! What is different from one driver to the next: a file a driver, each in the build by its Cargo feature.

use std::time::Duration;

use openconnect_change::Cell;
use sqlx::error::BoxDynError;

use crate::dialect::Dialect;
use crate::statement::Value;

#[cfg(feature = "mysql")]
pub(crate) mod mysql;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

/// How connections are made.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// How many at the most; SQLite has one writer, so one.
    pub connections: u32,
    /// How long to wait for one.
    pub acquire: Duration,
    /// SQLite: make the file when it is missing.
    pub create: bool,
    /// SQLite: how long a statement waits for another writer.
    pub busy: Duration,
    /// Run on each new connection.
    pub init: Vec<String>,
}

/// Parameters and rows of a driver.
pub(crate) trait Driver: sqlx::Database {
    const DIALECT: Dialect;

    /// Parameters as the driver sends them.
    fn arguments(values: &[Value]) -> Result<Self::Arguments, BoxDynError>;

    /// A row as it was read.
    fn cells(row: &Self::Row) -> Result<Vec<Cell>, sqlx::Error>;
}

/// The same expression for each driver in the build, with the driver's value bound to a name.
macro_rules! each_driver {
    ($of:expr, $bound:ident => $expression:expr) => {
        match $of {
            #[cfg(feature = "postgres")]
            Self::Postgres($bound) => $expression,
            #[cfg(feature = "mysql")]
            Self::MySql($bound) => $expression,
            #[cfg(feature = "sqlite")]
            Self::Sqlite($bound) => $expression,
        }
    };
}
pub(crate) use each_driver;

/// A pool of one driver. `first` prepares each new connection, then come the statements of the settings.
macro_rules! pool {
    ($options:ty, $settings:expr, $connect:expr, $first:expr) => {{
        let init: std::sync::Arc<[String]> = $settings.init.clone().into();
        <$options>::new()
            .max_connections($settings.connections)
            .acquire_timeout($settings.acquire)
            .after_connect(move |connection, _| {
                let init = std::sync::Arc::clone(&init);
                Box::pin(async move {
                    $first(&mut *connection).await?;
                    for sql in init.iter() {
                        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.clone()))).await?;
                    }
                    Ok(())
                })
            })
            .connect_lazy_with($connect)
    }};
}
pub(crate) use pool;

/// The login in a driver's options; `ca` sets the authorities to trust, `mode` is the driver's name of a mode of TLS.
#[cfg(any(feature = "postgres", feature = "mysql"))]
macro_rules! with_login {
    ($options:expr, $login:expr, $ca:ident, $mode:expr) => {{
        let (mut options, login): (_, &$crate::login::Login) = ($options, $login);
        if let Some(user) = &login.user {
            options = options.username(user);
        }
        if let Some(password) = &login.password {
            options = options.password(password.expose());
        }
        if let Some(tls) = &login.tls {
            options = options.ssl_mode($mode(tls.mode));
            if let Some(file) = &tls.ca_file {
                options = options.$ca(file);
            }
            if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
                options = options.ssl_client_cert(cert).ssl_client_key(key);
            }
        }
        options
    }};
}
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) use with_login;

/// What is declared as text need not be text everywhere.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
fn text_or_bytes(bytes: Vec<u8>) -> Cell {
    match String::from_utf8(bytes) {
        Ok(text) => Cell::Text(text),
        Err(error) => Cell::Bytes(error.into_bytes()),
    }
}
