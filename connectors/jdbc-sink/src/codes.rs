//! The error codes of this crate; each has a page in `docs/errors`.

openconnect_core::code_table! {
    /// The data of an event is JSON, but not an object.
    SQL_NOT_AN_OBJECT,
    /// The data of an event is not JSON.
    SQL_NOT_JSON,
    /// The data of an event is not a change of a row.
    SQL_NOT_A_CHANGE,
    /// The row of an event has no value for a key column.
    SQL_NO_KEY,
    /// The data of an event has no column of the table.
    SQL_NO_COLUMNS,
    /// The data of an event has a field that is not a column.
    SQL_UNKNOWN_FIELD,
    /// `sink.sql` cannot be used.
    SQL_STATEMENT,
    /// An event names a table that is not in `sink.tables`.
    SQL_TABLE_NOT_ALLOWED,
}
