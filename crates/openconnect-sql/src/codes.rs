//! The error codes of this crate; each has a page in `docs/errors`.

openconnect_core::code_table! {
    /// A table or a column is missing.
    SQL_SCHEMA,
    /// The database cannot be reached, or the connection broke.
    SQL_CONNECTION,
    /// A row breaks a constraint of the table.
    SQL_CONSTRAINT,
    /// A value does not fit its column.
    SQL_VALUE,
    /// Another transaction was in the way.
    SQL_CONFLICT,
    /// The database user lacks a right.
    SQL_DENIED,
    /// The database refused the login.
    SQL_LOGIN,
    /// The database cannot be written.
    SQL_READONLY,
    /// The database has no room.
    SQL_FULL,
    /// The database refused a statement for another reason.
    SQL_ERROR,
    /// Another process has locked the database file.
    SQL_BUSY,
    /// The database file cannot be read or written.
    SQL_IO,
    /// The database file is damaged.
    SQL_CORRUPT,
    /// The stored position does not fit the table or the configuration.
    SQL_POSITION,
    /// The database does not order rows as it compares them.
    SQL_ORDER,
    /// The database was not done in time.
    SQL_TIMEOUT,
    /// The URL of the database cannot be used.
    SQL_URL,
}
