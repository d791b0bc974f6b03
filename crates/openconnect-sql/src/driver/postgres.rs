//! PostgreSQL.

use openconnect_change::Cell;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow, PgSslMode};
use sqlx::{Arguments as _, ConnectOptions as _, Executor as _, Postgres, Row as _, TypeInfo as _, ValueRef as _};

use super::{Driver, PoolSettings, pool, with_login};
use crate::address::Address;
use crate::dialect::Dialect;
use crate::login::{Login, TlsMode};
use crate::statement::Value;

pub(crate) fn pool(address: &Address, login: &Login, settings: &PoolSettings) -> PgPool {
    let options = PgConnectOptions::new_without_pgpass()
        .host(&address.host)
        .port(address.port)
        .database(&address.database)
        .application_name("openconnect");
    let options = with_login!(options, login, ssl_root_cert, ssl_mode).disable_statement_logging();
    pool!(PgPoolOptions, settings, options, async |_: &mut _| Ok::<_, sqlx::Error>(()))
}

fn ssl_mode(mode: TlsMode) -> PgSslMode {
    match mode {
        TlsMode::Disable => PgSslMode::Disable,
        TlsMode::Require => PgSslMode::Require,
        TlsMode::VerifyCa => PgSslMode::VerifyCa,
        TlsMode::VerifyFull => PgSslMode::VerifyFull,
    }
}

impl Driver for Postgres {
    const DIALECT: Dialect = Dialect::Postgres;

    fn arguments(values: &[Value]) -> Result<PgArguments, BoxDynError> {
        let mut arguments = PgArguments::default();
        for value in values {
            match value {
                Value::Null => arguments.add(None::<&str>)?,
                Value::Integer(value) => arguments.add(value)?,
                Value::Unsigned(value) => arguments.add(value.to_string())?,
                Value::Real(value) => arguments.add(value)?,
                Value::Text(value) => arguments.add(value.as_str())?,
                Value::Bytes(value) => arguments.add(value.as_slice())?,
                Value::Texts(values) => arguments.add(values.as_slice())?,
                Value::ByteStrings(values) => arguments.add(values.as_slice())?,
            }
        }
        Ok(arguments)
    }

    fn cells(row: &PgRow) -> Result<Vec<Cell>, sqlx::Error> {
        let cell = |at| {
            let raw = row.try_get_raw(at)?;
            Ok(match (raw.is_null(), raw.type_info().name()) {
                (true, _) => Cell::Null,
                (false, "BYTEA") => Cell::Bytes(row.try_get(at)?),
                _ => Cell::Text(row.try_get_unchecked(at)?),
            })
        };
        (0..row.len()).map(cell).collect()
    }
}
