//! Databases for the tests and the proof of delivery of everything that speaks SQL. Used by tests only.
//!
//! | module | what is in it |
//! |---|---|
//! | [`server`] | PostgreSQL, MySQL and MariaDB: a database for each test, or a server that a test may kill |
//! | [`empty`] | an empty database of each kind, SQLite too |
//! | [`table`] | what is in an SQLite file |
//! | [`prove`] | tables as inputs and outputs of the proof of delivery |
//!
//! The test kit itself knows no database driver; this crate is where the drivers are.

pub mod empty;
pub mod prove;
pub mod server;
pub mod table;

pub use empty::EmptyDatabase;
pub use openconnect_testkit::{Error, Result};
pub use server::{Database, Server, Session, System, database};
