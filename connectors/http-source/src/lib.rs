//! HTTP source: a webhook server that answers 2xx only when EventMesh has the event.
//!
//! | file | what is in it |
//! |---|---|
//! | `config.rs` | the `source:` section |
//! | `import.rs` | the configuration of the Java connector |
//! | `source.rs` | the connector: opens the server, hands requests to the core |
//! | `server.rs` | connections, one request from its head to its answer |
//! | `body.rs` | reading a body within its limits, decompression |
//! | `auth.rs` | basic, bearer, signatures |
//! | `decode.rs` | a request to CloudEvents: the HTTP binding, ndjson, raw |
//! | `github.rs` | GitHub's deliveries as CloudEvents |
//! | `problem.rs` | errors as `application/problem+json` |

mod auth;
mod body;
mod config;
mod decode;
mod github;
mod import;
mod problem;
mod server;
mod source;

pub use config::HttpSourceConfig;
pub use source::HttpSource;
