//! Requests from senders, such as webhooks.
//!
//! | file | what is in it |
//! |---|---|
//! | `listener.rs` | [`Listener`]: connections and their limits, TLS, orderly shutdown |
//! | `auth.rs` | the `auth` section and its checks: basic, bearer, signatures of known senders |
//! | `signature.rs` | a keyed hash of a body, compared in constant time |
//! | `body.rs` | reading a body within its limits, decompression |
//! | `problem.rs` | errors as `application/problem+json` |
//! | `github.rs` | GitHub's deliveries as CloudEvents |

mod auth;
mod body;
pub mod github;
mod listener;
mod problem;
mod signature;

pub use auth::Auth;
pub use body::{BodyLimits, Room, decompress, read};
pub use listener::{Handler, Listener};
pub use problem::Problem;
pub use signature::{Algorithm, Encoding};
