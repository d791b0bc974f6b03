//! The parts of a request that become events.

use http::{HeaderMap, Method, Uri};

/// The parts of a request that become events.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}
