//! Requests from senders, such as webhooks.
//!
//! | file | what is in it |
//! |---|---|
//! | `listener.rs` | [`Listener`]: connections and their limits, TLS, orderly shutdown |
//! | `auth.rs` | the `auth` section and its checks: basic, bearer, signatures of known senders |
//! | `senders.rs` | how GitHub, Slack, Stripe and Standard Webhooks sign |
//! | `signature.rs` | a keyed hash of a body, compared in constant time |
//! | `body.rs` | reading a body within its limits, decompression |
//! | `handshake.rs` | what senders ask before their first event |
//! | `request_log.rs` | [`RequestLog`]: counts requests, and warns of refused ones |
//! | `problem.rs` | errors as `application/problem+json` |
//! | `github.rs` | GitHub's deliveries as CloudEvents |

mod auth;
mod body;
pub mod github;
mod handshake;
mod listener;
mod problem;
mod request_log;
mod senders;
mod signature;

pub use auth::Auth;
pub use body::{BodyLimits, decompress, read, reserve};
pub use handshake::{slack_challenge, webhook_consent};
pub use listener::{Handler, Listener};
pub use problem::Problem;
pub use request_log::RequestLog;
pub use signature::{Algorithm, Encoding};
