//! The error codes of this crate; each has a page in `docs/errors`.

openconnect_core::code_table! {
    /// A setting of HTTP cannot be used.
    HTTP_CONFIG,
    /// The endpoint cannot be reached.
    HTTP_CONNECT,
    /// The connection broke before a response came.
    HTTP_BROKEN,
    /// The other side was not done with a request in time.
    HTTP_TIMEOUT,
    /// The rendered URL cannot be requested.
    HTTP_URL,
    /// The authorization server gave no token.
    HTTP_OAUTH2,
    /// The body of a request has an encoding that is not accepted.
    HTTP_ENCODING,
    /// A request cannot be understood.
    HTTP_MALFORMED,
    /// A request is larger than a limit.
    HTTP_TOO_LARGE,
    /// The server cannot take the request now.
    HTTP_UNAVAILABLE,
    /// The sender of a request has not proved who it is.
    HTTP_UNAUTHORIZED,
    /// The endpoint answered with this status, which is not a success.
    HTTP_STATUS = "HTTP_" + number,
}
