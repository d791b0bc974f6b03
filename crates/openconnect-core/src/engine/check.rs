//! What `check` finds out without delivering anything.

use crate::config::Guarantee;
use crate::error::{Error, Result};
use crate::sink::Sink;
use crate::source::Source;

use super::App;

/// How one line of a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// Works, but worth a look.
    Warning,
    /// Does not work.
    Failed,
    /// Not tried (`--connect` was not given, or something before it failed).
    Skipped,
}

/// What a check found.
#[derive(Debug, Clone)]
pub struct CheckReport {
    /// The guarantee that the connector would run with.
    pub guarantee: Guarantee,
    /// What was looked at, how it went, and a text for people.
    pub lines: Vec<(String, CheckState, String)>,
}

/// Checks a source; with `connect` also that mesh and system can be reached.
pub async fn check_source<S: Source>(app: App<S::Config>, connect: bool) -> Result<CheckReport> {
    let _ = (app, connect);
    Err(Error::unavailable("OC0401", "not built yet"))
}

/// Checks a sink; with `connect` also that mesh and target can be reached.
pub async fn check_sink<S: Sink>(app: App<S::Config>, connect: bool) -> Result<CheckReport> {
    let _ = (app, connect);
    Err(Error::unavailable("OC0401", "not built yet"))
}
