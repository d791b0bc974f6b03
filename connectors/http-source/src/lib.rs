//! HTTP source: a webhook server that answers 2xx only when EventMesh has the event.
//!
//! | file | what is in it |
//! |---|---|
//! | `config.rs` | the `source:` section |
//! | `import.rs` | the configuration of the Java connector |
//! | `source.rs` | the connector: opens the server, hands requests to the core |
//! | `server.rs` | one request from its head to its answer |
//! | `request.rs` | the parts of a request that become events |
//! | `decode.rs` | a request to CloudEvents: the HTTP binding, ndjson, raw |
//! | `variables.rs` | the variables of the templates in `source.event` |
//!
//! The listener, its limits, the signatures and GitHub's mapping are in `openconnect_http::server`.

pub mod codes;
mod config;
mod decode;
mod import;
mod request;
mod server;
mod source;
mod variables;

pub use config::HttpSourceConfig;
pub use source::HttpSource;
