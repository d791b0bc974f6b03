//! The error codes of this crate; each has a page in `docs/errors`.

openconnect_core::code_table! {
    /// An offset is too large for a database.
    OFFSET_TOO_LARGE = "OC0216",
}
