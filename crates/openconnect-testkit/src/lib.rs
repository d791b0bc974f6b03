//! Runs the binaries as a user does, through faults, and counts what arrived.
//!
//! | module | what is in it |
//! |---|---|
//! | [`kit`], `ports` | one test's temporary folder, seed and random numbers; ports that nobody else gets |
//! | [`binary`] | where the built binaries are |
//! | [`process`] | a child process: start, signals, bounded waits, its log, its memory |
//! | [`mesh`], [`connector`] | `openconnect-mesh` and a connector with the configuration written for them |
//! | [`sender`], [`receiver`] | numbered events sent over HTTP; an HTTP target with faults that keeps what it got |
//! | [`http`] | a small bounded HTTP client |
//! | [`hostile`] | events that nobody expects, from a seed |
//! | [`oracle`] | did everything arrive, unaltered, in order per key? |
//! | [`browser`] | a headless browser that looks at a page |
//! | [`services`] | servers out of `ci/services`, shared or of a test's own |
//! | [`debian`] | programs from Debian's packages |
//! | [`debezium`] | Debezium, to compare a CDC source with |
//! | [`maven`] | builds the programs in Java of `ci/` |
//! | [`skip`] | what can't be tested here is said in one form |
//! | [`prove`], [`subjects`] | the proof of delivery, and what its subjects are made of |
//!
//! The kit judges from outside: it knows neither the core nor any system's driver. Subjects lie beside their connectors.

pub mod binary;
pub mod browser;
pub mod connector;
pub mod debezium;
pub mod debian;
pub mod hostile;
pub mod http;
pub mod kit;
pub mod maven;
pub mod mesh;
pub mod oracle;
mod ports;
pub mod process;
pub mod prove;
pub mod receiver;
pub mod sender;
pub mod services;
pub mod skip;
pub mod subjects;

/// Whatever went wrong, in words.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// Result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
