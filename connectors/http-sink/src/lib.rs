//! HTTP sink: CloudEvents from EventMesh to an HTTP endpoint.
//!
//! | file | what is in it |
//! |---|---|
//! | `config.rs` | the `sink:` section |
//! | `import.rs` | the configuration of the Java connector |
//! | `request.rs` | events to requests: modes, URL and headers from templates, compression, signature |
//! | `auth.rs` | basic, bearer, OAuth2 client credentials |
//! | `client.rs` | the HTTP client |
//! | `answer.rs` | what an answer means: delivered, retry, dead letter |
//! | `sink.rs` | the connector |

mod answer;
mod auth;
mod client;
mod config;
mod import;
mod request;
mod sink;

pub use config::HttpSinkConfig;
pub use sink::HttpSink;
