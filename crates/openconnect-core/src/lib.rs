//! Everything that a connector's author uses: write one read or one write, the core does the rest.
//!
//! | module | what is in it |
//! |---|---|
//! | [`source`], [`sink`] | the two traits a connector implements, and what they exchange with the core |
//! | [`staging`] | the trait of a sink that takes events one by one and shows them together |
//! | [`record`], [`outcome`], [`budget`] | events with their position; how they ended, and who is told; the memory they take |
//! | [`engine`] | the delivery engine: batching, retry, ordering, offsets, shutdown, the guarantee |
//! | [`mesh`] | the client of EventMesh, TCP and gRPC |
//! | [`backoff`] | how long to wait before another attempt |
//! | [`store`], `inbox`, `state`, `offsets` | what is durable: the sink's journal, the instance's folder, a source's positions |
//! | [`dead_letter`] | events that can't be delivered |
//! | [`codes`] | the error codes of the core; [`code_table!`] defines those of a connector |
//! | [`config`], [`cli`], [`admin`], [`telemetry`] | settings, command line, health and metrics, logs |
//!
//! What the mesh uses too is in crates below, and is exported here: [`duration`], [`bytes_size`], [`secret`] and [`tls`] (values of settings),
//! [`error`] and [`failure`] (why a process ends; why something failed), [`transform`] and [`template`] (steps on events; text from events).

pub mod admin;
pub mod backoff;
pub mod budget;
pub mod cli;
pub mod codes;
pub mod config;
pub mod dead_letter;
pub mod engine;
mod inbox;
pub mod mesh;
pub mod offsets;
pub mod outcome;
pub mod record;
pub mod sink;
pub mod source;
pub mod staging;
pub mod state;
pub mod store;
pub mod telemetry;

pub use clap;
pub use cloudevents;
pub use openconnect_config::{bytes_size, duration, secret, tls};
pub use openconnect_error::{BoxError, Code, CodeFamily, Error, Exit, Failure, FailureKind, Result, code_table, error, failure};
pub use openconnect_transform as transform;
pub use openconnect_transform::template;
