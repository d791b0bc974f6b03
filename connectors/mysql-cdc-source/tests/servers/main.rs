//! The source on real servers: MySQL and MariaDB.
#![allow(clippy::unwrap_used, missing_docs)]

mod changes;
mod columns;
mod config;
mod debezium;
mod failover;
mod keys;
mod snapshot;
mod statements;
mod support;
mod types;
