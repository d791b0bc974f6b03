//! What HTTP connectors share.
//!
//! | file | what is in it |
//! |---|---|
//! | `authorization.rs` | the `Authorization` header of a user name with a password, and of a token |
//! | `client/` | feature `client`: requests to an endpoint |
//! | `server/` | feature `server`: requests from senders, such as webhooks |
//!
//! A connector enables the one that it needs.

mod authorization;
#[cfg(feature = "client")]
pub mod client;
pub mod codes;
#[cfg(feature = "server")]
pub mod server;
