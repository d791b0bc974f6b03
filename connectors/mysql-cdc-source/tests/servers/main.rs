//! The source on real servers: MySQL and MariaDB.
#![allow(clippy::unwrap_used, missing_docs)]

mod changes;
mod columns;
mod config;
mod debezium;
mod failover;
mod generator;
mod keys;
mod log_forms;
mod refused;
mod snapshot;
mod start;
mod statements;
mod support;
mod types;
