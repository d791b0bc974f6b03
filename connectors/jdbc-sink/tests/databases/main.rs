//! The sink on real databases: PostgreSQL, MySQL, MariaDB and SQLite.
#![allow(clippy::unwrap_used, missing_docs)]

mod changes;
mod exact;
mod rows;
mod sqlite;
mod support;
mod types;
