//! HTTP sink: CloudEvents from EventMesh to an HTTP endpoint.
//!
//! | file | what is in it |
//! |---|---|
//! | `config.rs` | the `sink:` section |
//! | `import.rs` | the configuration of the Java connector |
//! | `request.rs` | events to requests: modes, URL and headers from templates, compression, signature |
//! | `sink.rs` | the connector |
//!
//! The client, its credentials, and what a status means are in `openconnect_http::client`.

pub mod codes;
mod config;
mod import;
mod request;
mod sink;

pub use config::HttpSinkConfig;
pub use sink::HttpSink;
