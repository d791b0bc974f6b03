//! SQLite.

use std::path::Path;

use openconnect_change::Cell;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{Arguments as _, ConnectOptions as _, Executor as _, Row as _, Sqlite, TypeInfo as _, ValueRef as _};

use super::{Driver, PoolSettings, pool, text_or_bytes};
use crate::dialect::Dialect;
use crate::statement::Value;

/// Rows that are read before they are asked for.
const ROWS_AHEAD: usize = 4;

pub(crate) fn pool(path: &Path, settings: &PoolSettings) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(settings.create)
        .journal_mode(SqliteJournalMode::Wal)
        // What is committed must outlive a power cut.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(settings.busy)
        // Rows that are read ahead are not in the account of the memory: 50 large ones would be much.
        .row_buffer_size(ROWS_AHEAD)
        .disable_statement_logging();
    pool!(SqlitePoolOptions, settings, options, async |_: &mut _| Ok::<_, sqlx::Error>(()))
}

impl Driver for Sqlite {
    const DIALECT: Dialect = Dialect::Sqlite;

    fn arguments(values: &[Value]) -> Result<SqliteArguments, BoxDynError> {
        let mut arguments = SqliteArguments::default();
        for value in values {
            match value {
                Value::Null => arguments.add(None::<String>)?,
                Value::Integer(value) => arguments.add(*value)?,
                Value::Unsigned(value) => arguments.add(value.to_string())?,
                Value::Real(value) => arguments.add(*value)?,
                Value::Text(value) => arguments.add(value.clone())?,
                Value::Bytes(value) => arguments.add(value.clone())?,
                Value::Texts(_) | Value::ByteStrings(_) => return Err("SQLite has no arrays".into()),
            }
        }
        Ok(arguments)
    }

    fn cells(row: &SqliteRow) -> Result<Vec<Cell>, sqlx::Error> {
        let cell = |at| {
            let raw = row.try_get_raw(at)?;
            Ok(match (raw.is_null(), raw.type_info().name()) {
                (true, _) => Cell::Null,
                (false, "INTEGER") => Cell::Integer(row.try_get_unchecked(at)?),
                (false, "REAL") => Cell::Real(row.try_get_unchecked(at)?),
                (false, "BLOB") => Cell::Bytes(row.try_get_unchecked(at)?),
                _ => text_or_bytes(row.try_get_unchecked(at)?),
            })
        };
        (0..row.len()).map(cell).collect()
    }
}
