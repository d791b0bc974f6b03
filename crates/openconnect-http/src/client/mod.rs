//! Requests to an endpoint.
//!
//! | file | what is in it |
//! |---|---|
//! | `transport.rs` | [`Client`]: pooled connections, TLS, one request within its time |
//! | `proxy.rs` | [`Proxy`]: which requests go through which HTTP proxy |
//! | `endpoint.rs` | [`Endpoint`]: a URL, and the credentials in it |
//! | `credentials.rs` | the `auth` section: none, basic, bearer, OAuth2 |
//! | `oauth2.rs` | OAuth2 client credentials: fetching and keeping a token |
//! | `status.rs` | [`Codes`]: which status means delivered, retry or dead letter |
//! | `url_template.rs` | [`UrlTemplate`]: a URL out of an event, whose values stay in their places |
//! | `retry_after.rs` | the `Retry-After` header |

mod credentials;
mod endpoint;
mod oauth2;
mod proxy;
mod retry_after;
mod status;
mod transport;
mod url_template;

pub use credentials::{Auth, Credentials};
pub use endpoint::Endpoint;
pub use oauth2::ClientAuthentication;
pub use proxy::Proxy;
pub use retry_after::retry_after;
pub use status::Codes;
pub use transport::{Client, ClientSettings, Response, client_tls};
pub use url_template::UrlTemplate;
