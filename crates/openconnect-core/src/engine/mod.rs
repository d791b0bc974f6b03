//! The delivery engine.

use tokio_util::sync::CancellationToken;

use crate::admin::StatusHandle;
use crate::config::Settings;
use crate::error::{Error, Exit, Result};
use crate::sink::Sink;
use crate::source::Source;

pub mod check;

/// One connector, ready to run: its settings, its own section, and the ends it shares with the command line.
pub struct App<C> {
    /// The settings that every connector has.
    pub settings: Settings,
    /// The connector's own section.
    pub config: C,
    /// What the admin server shows.
    pub status: StatusHandle,
    /// Cancelled when the connector shall stop.
    pub shutdown: CancellationToken,
}

/// Runs a source until it is stopped or can't go on.
pub async fn run_source<S: Source>(app: App<S::Config>) -> Result<Exit> {
    let _ = app;
    Err(Error::unavailable("OC0401", "not built yet"))
}

/// Runs a sink until it is stopped or can't go on.
pub async fn run_sink<S: Sink>(app: App<S::Config>) -> Result<Exit> {
    let _ = app;
    Err(Error::unavailable("OC0401", "not built yet"))
}
