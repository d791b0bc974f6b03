//! The error codes of this crate; each has a page in `docs/errors`.

openconnect_core::code_table! {
    /// A row cannot be an event.
    SQL_EVENT,
}
