//! The error codes of this crate; each has a page in `docs/errors`.

openconnect_core::code_table! {
    /// The media type of a request is not accepted.
    HTTP_MEDIA_TYPE,
    /// No endpoint has the path of a request.
    HTTP_NOT_FOUND,
    /// The endpoint does not take the method of a request.
    HTTP_METHOD,
    /// The address cannot be listened on.
    HTTP_LISTEN,
    /// The HTTP server stopped by itself, which is a bug.
    HTTP_STOPPED,
}
