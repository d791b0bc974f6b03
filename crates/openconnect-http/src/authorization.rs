//! The values of an `Authorization` header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The value for a user name and a password (RFC 7617).
pub(crate) fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{username}:{password}")))
}

/// The value for a token (RFC 6750).
pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A header value that no debug output shows.
#[cfg(feature = "client")]
pub(crate) fn sensitive(text: &str) -> Result<http::HeaderValue, http::header::InvalidHeaderValue> {
    let mut value = http::HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}
