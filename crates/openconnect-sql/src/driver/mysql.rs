//! MySQL and MariaDB.

use openconnect_change::Cell;
use sqlx::error::BoxDynError;
use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlRow, MySqlSslMode};
use sqlx::{Arguments as _, ConnectOptions as _, Executor as _, MySql, Row as _, TypeInfo as _, ValueRef as _};

use super::{Driver, PoolSettings, pool, text_or_bytes, with_login};
use crate::address::Address;
use crate::dialect::Dialect;
use crate::login::{Login, TlsMode};
use crate::statement::Value;

/// MySQL takes what does not fit and cuts it, unless it is told to refuse; a 0 in an automatic column would become another number.
const MYSQL_SESSION: &str = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'), \
                             SESSION transaction_isolation = 'READ-COMMITTED'";
/// MariaDB before 11.1 calls it otherwise.
const MARIADB_SESSION: &str = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'), \
                               SESSION tx_isolation = 'READ-COMMITTED'";

pub(crate) fn pool(address: &Address, login: &Login, settings: &PoolSettings) -> MySqlPool {
    let options = MySqlConnectOptions::new()
        .host(&address.host)
        .port(address.port)
        .database(&address.database)
        .pipes_as_concat(false);
    let options = with_login!(options, login, ssl_ca, ssl_mode).disable_statement_logging();
    pool!(MySqlPoolOptions, settings, options, prepare_session)
}

async fn prepare_session(connection: &mut sqlx::MySqlConnection) -> Result<(), sqlx::Error> {
    if connection.execute(sqlx::raw_sql(MYSQL_SESSION)).await.is_ok() {
        return Ok(());
    }
    connection.execute(sqlx::raw_sql(MARIADB_SESSION)).await.map(drop)
}

fn ssl_mode(mode: TlsMode) -> MySqlSslMode {
    match mode {
        TlsMode::Disable => MySqlSslMode::Disabled,
        TlsMode::Require => MySqlSslMode::Required,
        TlsMode::VerifyCa => MySqlSslMode::VerifyCa,
        TlsMode::VerifyFull => MySqlSslMode::VerifyIdentity,
    }
}

impl Driver for MySql {
    const DIALECT: Dialect = Dialect::MySql;

    fn arguments(values: &[Value]) -> Result<MySqlArguments, BoxDynError> {
        let mut arguments = MySqlArguments::default();
        for value in values {
            match value {
                Value::Null => arguments.add(None::<&str>)?,
                Value::Integer(value) => arguments.add(value)?,
                Value::Unsigned(value) => arguments.add(value)?,
                Value::Real(value) => arguments.add(value)?,
                Value::Text(value) => arguments.add(value.as_str())?,
                Value::Bytes(value) => arguments.add(value.as_slice())?,
                Value::Texts(_) | Value::ByteStrings(_) => return Err("MySQL has no arrays".into()),
            }
        }
        Ok(arguments)
    }

    fn cells(row: &MySqlRow) -> Result<Vec<Cell>, sqlx::Error> {
        let cell = |at| {
            let raw = row.try_get_raw(at)?;
            Ok(match (raw.is_null(), raw.type_info().name()) {
                (true, _) => Cell::Null,
                (false, "BINARY" | "VARBINARY" | "TINYBLOB" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB" | "GEOMETRY") => {
                    Cell::Bytes(row.try_get_unchecked(at)?)
                }
                _ => text_or_bytes(row.try_get_unchecked(at)?),
            })
        };
        (0..row.len()).map(cell).collect()
    }
}
