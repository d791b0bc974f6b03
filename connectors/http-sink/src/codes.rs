//! The error codes of this crate; each has a page in `docs/errors`.

openconnect_core::code_table! {
    /// A value cannot be an HTTP header.
    HTTP_HEADER,
    /// The events cannot be encoded as a body.
    HTTP_FORMAT,
    /// The body cannot be compressed.
    HTTP_COMPRESSION,
}
