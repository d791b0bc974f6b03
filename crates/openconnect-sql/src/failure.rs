//! What a database's error means. Texts name columns and constraints, never values: a database's own message may hold some.

use openconnect_core::Failure;
use sqlx::error::DatabaseError;

use crate::codes;

/// A table or column that is missing is worth waiting for: it is the schema's fault, and dead letters would empty the stream.
pub fn missing(what: impl std::fmt::Display) -> Failure {
    Failure::retryable(codes::SQL_SCHEMA, format!("{what}; the connector waits until the table fits"))
}

/// What to do when no connection with TLS is made.
pub const TLS_HINT: &str = "`tls.ca_file` names the authority that has signed the server's certificate; `tls.mode` says how much is verified \
     (`disable`: nothing is encrypted)";

/// Was it TLS that failed: the certificate is not accepted, or the server has none?
fn is_tls(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        // The handshake of rustls.
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

/// What the error means, by SQLSTATE (PostgreSQL), error number (MySQL, MariaDB) or primary result code (SQLite).
pub fn failure(error: sqlx::Error) -> Failure {
    let Some(database) = error.as_database_error() else {
        return match error {
            sqlx::Error::PoolTimedOut => Failure::retryable(codes::SQL_CONNECTION, "no connection to the database in time"),
            _ if is_tls(&error) => {
                Failure::retryable(codes::SQL_CONNECTION, format!("the database can't be used over TLS ({TLS_HINT})")).because(error)
            }
            _ => Failure::retryable(codes::SQL_CONNECTION, "the database can't be used").because(error),
        };
    };
    #[cfg(feature = "postgres")]
    if let Some(error) = database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        return postgres(error);
    }
    #[cfg(feature = "mysql")]
    if let Some(error) = database.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        return mysql(error.number(), error.message());
    }
    sqlite(database)
}

#[cfg(feature = "postgres")]
fn postgres(error: &sqlx::postgres::PgDatabaseError) -> Failure {
    let code = error.code();
    let mut place = String::new();
    for (what, name) in [
        ("constraint", error.constraint()),
        ("column", error.column()),
        ("table", error.table()),
    ] {
        if let Some(name) = name {
            place.push_str(&format!(", {what} `{name}`"));
        }
    }
    let silent = |what: &str| format!("{what} (SQLSTATE {code}{place})");
    let said = || format!("{} (SQLSTATE {code})", error.message());
    match (code.get(..2).unwrap_or_default(), code) {
        (_, "23502") => Failure::permanent(codes::SQL_CONSTRAINT, silent("a value is missing")),
        (_, "23503") => Failure::permanent(codes::SQL_CONSTRAINT, silent("a foreign key leads nowhere")),
        (_, "23505") => Failure::permanent(codes::SQL_CONSTRAINT, silent("such a row is there already")),
        ("23", _) => Failure::permanent(codes::SQL_CONSTRAINT, silent("a constraint is broken")),
        // RAISE in a trigger; its text is the schema's author's, and may hold values.
        (_, "P0001") => Failure::permanent(codes::SQL_CONSTRAINT, silent("a trigger refused the row")),
        // What a type's own code refuses without a class (`hstore`, `ltree`): the next attempt would not be another.
        ("22" | "21" | "54", _) | (_, "XX000") => Failure::permanent(codes::SQL_VALUE, silent("a value does not fit its column")),
        ("40", _) | (_, "55P03") => Failure::retryable(codes::SQL_CONFLICT, said()),
        (_, "42501") => Failure::retryable(codes::SQL_DENIED, said()),
        ("42" | "3D" | "3F", _) => missing(said()),
        ("28", _) => Failure::retryable(codes::SQL_LOGIN, said()),
        (_, "25006") => Failure::retryable(codes::SQL_READONLY, said()),
        ("53", _) => Failure::retryable(codes::SQL_FULL, said()),
        ("57" | "08", _) => Failure::retryable(codes::SQL_CONNECTION, said()),
        _ => Failure::retryable(codes::SQL_ERROR, said()),
    }
}

#[cfg(any(feature = "mysql", test))]
fn mysql(number: u16, message: &str) -> Failure {
    let named = |what: &str, name: Option<&str>| match name {
        Some(name) => format!("{what}: {name} (error {number})"),
        None => format!("{what} (error {number})"),
    };
    let first = |mark: char| {
        let mut parts = message.split(mark);
        parts.nth(1)
    };
    // Values stand before the column's name: the last one is it.
    let after = |lead: &str| {
        let rest = message.rsplit_once(lead)?.1;
        Some(rest.rsplit_once(" at row").map_or(rest, |(name, _)| name))
    };
    let said = || format!("{message} (error {number})");
    match number {
        1048 | 1364 => Failure::permanent(codes::SQL_CONSTRAINT, named("a value is missing", first('\''))),
        1062 | 1586 => Failure::permanent(codes::SQL_CONSTRAINT, named("such a row is there already", after("for key "))),
        1216 | 1217 | 1451 | 1452 => Failure::permanent(codes::SQL_CONSTRAINT, named("a foreign key leads nowhere", after("CONSTRAINT "))),
        3819 => Failure::permanent(codes::SQL_CONSTRAINT, named("a constraint is broken", first('\''))),
        4025 => Failure::permanent(codes::SQL_CONSTRAINT, named("a constraint is broken", first('`'))),
        1644 => Failure::permanent(codes::SQL_CONSTRAINT, named("a trigger refused the row", None)),
        1264 | 1265 | 1292 | 1366 | 1406 | 1411 | 3140 | 3156 | 3505 => {
            Failure::permanent(codes::SQL_VALUE, named("a value does not fit its column", after("for column ")))
        }
        1118 | 1153 | 1301 | 1416 | 1426 | 1690 | 3037 | 3141 | 3143 | 3144 | 3155 | 4079 => {
            Failure::permanent(codes::SQL_VALUE, named("a value does not fit its column", None))
        }
        1205 | 1213 | 1020 | 3572 => Failure::retryable(codes::SQL_CONFLICT, said()),
        1044 | 1142 | 1143 | 1227 | 1370 => Failure::retryable(codes::SQL_DENIED, said()),
        1045 | 1698 => Failure::retryable(codes::SQL_LOGIN, said()),
        1049 | 1054 | 1103 | 1146 => missing(said()),
        1290 | 1792 | 1836 => Failure::retryable(codes::SQL_READONLY, said()),
        1021 | 1030 | 1114 => Failure::retryable(codes::SQL_FULL, said()),
        1040 | 1053 | 1077 | 1079 | 1152 | 1184 | 1203 | 1226 | 1927 | 4031 => Failure::retryable(codes::SQL_CONNECTION, said()),
        // A text may hold values, here as in those above.
        _ => Failure::retryable(codes::SQL_ERROR, named("the statement failed", None)),
    }
}

/// SQLite's texts name tables and columns, never values.
fn sqlite(error: &dyn DatabaseError) -> Failure {
    let code: i64 = error.code().and_then(|code| code.parse().ok()).unwrap_or_default();
    let text = error.message().to_owned();
    match code & 0xff {
        // SQLITE_ERROR: no such table or column, among others.
        1 => missing(text),
        5 | 6 => Failure::retryable(codes::SQL_BUSY, text),
        8 => Failure::retryable(codes::SQL_READONLY, text),
        13 => Failure::retryable(codes::SQL_FULL, text),
        10 | 14 => Failure::retryable(codes::SQL_IO, text),
        11 | 26 => Failure::fatal(codes::SQL_CORRUPT, format!("{text}; restore the database")),
        18 | 19 | 20 | 25 => Failure::permanent(codes::SQL_CONSTRAINT, text),
        _ => Failure::retryable(codes::SQL_ERROR, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_name_columns_and_never_values() {
        for (number, message, name) in [
            (
                1366,
                "Incorrect integer value: 'secret for column 'x' at row' for column 'n' at row 1",
                "'n'",
            ),
            (
                1264,
                "Out of range value for column `shop`.`orders`.`n` at row 2",
                "`shop`.`orders`.`n`",
            ),
            (1062, "Duplicate entry 'secret' for key 'orders.PRIMARY'", "'orders.PRIMARY'"),
            (1048, "Column 'total' cannot be null", "total"),
            (4025, "CONSTRAINT `positive` failed for `shop`.`orders`", "positive"),
            (9999, "something with a secret", "9999"),
        ] {
            let failure = mysql(number, message);
            assert!(failure.reason().contains(name), "{}", failure.reason());
            assert!(!failure.reason().contains("secret"), "{}", failure.reason());
        }
    }
}
