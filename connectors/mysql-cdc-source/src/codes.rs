//! The error codes of this crate; each has a page in `docs/errors`.

openconnect_core::code_table! {
    /// `source.columns` leaves out or hides a column of the primary key.
    CDC_COLUMNS,
    /// A change cannot be an event.
    CDC_EVENT,
    /// The server has lost changes.
    CDC_INCIDENT,
    /// The binary log cannot be read.
    CDC_LOG,
    /// There is no position to start at.
    CDC_NO_POSITION,
    /// A change is larger than an event may be.
    CDC_OVERSIZE,
    /// The server has deleted the log at the saved position.
    CDC_POSITION_LOST,
    /// The snapshot has not all rows of a table.
    CDC_ROWS,
    /// The server is not set up for change data capture.
    CDC_SETUP,
    /// The snapshot of the tables was interrupted.
    CDC_SNAPSHOT,
    /// Another reader of the log has the same server_id.
    CDC_SERVER_ID,
    /// A change is in the log as a statement, not as rows.
    CDC_STATEMENT,
    /// A table cannot be read from the log as it is.
    CDC_TABLE,
    /// The value of a column cannot be read.
    CDC_VALUE,
}
