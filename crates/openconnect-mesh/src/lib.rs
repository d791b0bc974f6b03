//! EventMesh's TCP and gRPC protocols on one machine, over a durable log.
//!
//! [`Mesh::start`] gives a running mesh with its real addresses; [`MeshHandle::shutdown`] ends it. The map:
//!
//! * `config.rs`: everything that can be set.
//! * `broker.rs`: what both transports share: topics, requests that wait for replies, sessions' numbers, housekeeping.
//! * `log/`: a topic's durable log with group commit, its tail in memory, retention, saved cursors.
//! * `group.rs`: a consumer group: cursor, unacknowledged events, redelivery, keys that stick to a member.
//! * `asking.rs`: which requests a subscriber has been given.
//! * `convert.rs`: events between the forms in which the transports carry them.
//! * `tcp/`: listener, session, commands, outgoing bytes.
//! * `grpc/`: the three services.
//! * `auth.rs`: who may connect, and what they may do.
//! * `connection.rs`: connections accepted up to the limits, and encrypted.
//! * `names.rs`: what may be the name of a topic or group, and a topic's folder.
//! * `control.rs`: the socket through which the command line reaches a running mesh.
//! * `refusal.rs`: why a request was refused. `clock.rs`, `lock.rs`: milliseconds; locks whose holder may have panicked.
//! * `cli/`: the binary's subcommands.
//!
//! An event is acknowledged to its publisher after the group commit that holds it is on the disk. A subscriber's event
//! is consumed when it is acknowledged; otherwise it comes again, after a deadline or when its session ends.

mod asking;
mod auth;
mod broker;
pub mod cli;
mod clock;
pub mod codes;
mod config;
mod connection;
mod control;
mod convert;
mod error;
mod group;
mod grpc;
mod lock;
mod log;
mod names;
mod refusal;
mod server;
mod tcp;

pub use config::{Config, Delivery, Limits, Retention, Rights, Start, Topics, WhenFull};
pub use error::MeshError;
pub use openconnect_config::secret::Secret;
pub use openconnect_config::tls::TlsServerSettings;
pub use server::{Mesh, MeshHandle};

/// What HELLO and gRPC answers tell about this server.
pub const SERVER: &str = concat!("openconnect-mesh ", env!("CARGO_PKG_VERSION"));
