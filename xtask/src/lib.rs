//! What the workspace's commands share: `cargo xtask` itself, and its tools, which are packages of their own below this folder.
//!
//! | module | what is in it |
//! |---|---|
//! | [`connectors`] | the connectors, as Cargo knows them |
//! | [`binaries`] | the programs: built, and where they are |
//! | [`cargo`], [`git`] | both, called from a program that cargo runs |
//! | [`tools`] | programs of crates.io that are fetched when they are needed |
//! | [`docs`] | reference and schemas, made from the programs |
//!
//! This package is built before anything else is done: it depends on no crate of the workspace and on few others.

pub mod binaries;
pub mod cargo;
pub mod connectors;
pub mod docs;
pub mod git;
pub mod tools;

/// Any error, as text for the person who ran the command.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
