//! The source on real databases: PostgreSQL, MySQL, MariaDB and SQLite.
#![allow(clippy::unwrap_used, missing_docs)]

mod late;
mod modes;
mod support;
