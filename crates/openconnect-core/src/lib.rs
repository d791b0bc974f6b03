//! Everything that a connector's author uses: write one read or one write, the core does the rest.
//!
//! | module | what is in it |
//! |---|---|
//! | [`source`], [`sink`] | the two traits a connector implements, and what they exchange with the core |
//! | [`record`], [`failure`], [`error`] | events with their position and receipt; why something failed; why a process ends |
//! | [`engine`] | the delivery engine: batching, retry, ordering, offsets, shutdown, the guarantee |
//! | [`mesh`] | the client of EventMesh, TCP and gRPC |
//! | `inbox`, `state`, `offsets` | what is durable: the sink's journal, the instance's folder, a source's positions |
//! | [`dead_letter`] | events that can't be delivered |
//! | [`transform`], [`template`] | steps on events; text from events |
//! | [`import`] | configurations of the Java connectors, turned into ours |
//! | [`config`], [`cli`], [`admin`], [`telemetry`] | settings, command line, health and metrics, logs |
//! | [`tls`], [`secret`] | TLS settings for clients and servers; values that never show |

pub mod admin;
mod budget;
pub mod bytes_size;
pub mod cli;
pub mod config;
pub mod dead_letter;
pub mod duration;
pub mod engine;
pub mod error;
pub mod failure;
pub mod import;
mod inbox;
pub mod mesh;
pub mod offsets;
pub mod record;
pub mod secret;
pub mod sink;
pub mod source;
pub mod state;
pub mod telemetry;
pub mod template;
pub mod tls;
pub mod transform;

pub use cloudevents;
pub use error::{Error, Exit, Result};
pub use failure::{Failure, FailureKind};
