//! `run` and `inbox drain`: the connector with its admin server, until a signal or its end.

use openconnect_error::codes::NO_THREAD;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{Cli, Connector, runtime, systemd};
use crate::admin::{AdminServer, State, StatusHandle};
use crate::codes;
use crate::config::{Loaded, Settings};
use crate::engine::App;
use crate::error::{Error, Exit, Result};
use crate::telemetry;

pub(crate) fn run<C: Connector>(cli: &Cli) -> Result<Exit> {
    start::<C>(cli, false)
}

/// `inbox drain`.
pub(crate) fn drain<C: Connector>(cli: &Cli) -> Result<Exit> {
    start::<C>(cli, true)
}

fn start<C: Connector>(cli: &Cli, drain: bool) -> Result<Exit> {
    let loaded = cli.load::<C>()?;
    cli.logs(&loaded.settings.log)?;
    let result = run_loaded::<C>(cli, loaded, drain);
    match &result {
        Ok(exit) => tracing::info!(exit = exit.code(), "stopped"),
        Err(error) => {
            let hint = error.hint.as_deref().unwrap_or_default();
            tracing::error!(code = %error.code, exit = error.exit.code(), hint, "stopped: {}", error.reason());
            // The log has it; a second line in another form would break what reads the log.
            cli.output.quiet();
        }
    }
    result
}

fn run_loaded<C: Connector>(cli: &Cli, loaded: Loaded<C::Config>, drain: bool) -> Result<Exit> {
    let version = cli.version;
    tracing::info!(connector = C::NAME, version, name = %loaded.settings.name, configuration = %loaded.origin, "starting");
    let runtime = runtime()?;
    let status = StatusHandle::new(&loaded.settings.name, C::NAME, version);
    let app = App {
        settings: loaded.settings,
        config: loaded.connector,
        shared_offsets: cli.shared_offsets,
        status,
        drain,
        shutdown: CancellationToken::new(),
    };
    // As a task: this thread is none of the runtime's, and to wake it costs more than to wake a task.
    let engine = runtime.spawn(supervise::<C>(app, version));
    let result = runtime
        .block_on(engine)
        .unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()));
    // A blocking call that hangs (a file system that is gone) must not keep the process.
    runtime.shutdown_background();
    result
}

/// Runs the engine beside the admin server and the signals.
async fn supervise<C: Connector>(app: App<C::Config>, version: &'static str) -> Result<Exit> {
    // Before anything is open: a signal during the start is not lost.
    let signals = Signals::new()?;
    let stop_admin = CancellationToken::new();
    let admin = start_admin::<C>(&app.settings, &app.status, version, &stop_admin).await?;
    let (status, shutdown) = (app.status.clone(), app.shutdown.clone());
    let _notifying = AbortOnDropHandle::new(tokio::spawn(systemd::notify(status.clone(), shutdown.clone())));
    let result = tokio::select! {
        result = C::run(app) => result,
        () = signals.twice(&shutdown) => {
            Err(Error::undelivered(codes::STOPPED_AT_ONCE, "stopped at once by a second signal; what was in flight is delivered after the next start"))
        }
    };
    if let Err(error) = &result {
        status.error(error.code, error.reason());
    }
    status.set_state(State::Stopped);
    stop_admin.cancel();
    if let Some(admin) = admin {
        // Its connections end with it; nothing to wait for that could hang.
        let _ = admin.await;
    }
    result
}

async fn start_admin<C: Connector>(
    settings: &Settings,
    status: &StatusHandle,
    version: &'static str,
    stop: &CancellationToken,
) -> Result<Option<tokio::task::JoinHandle<()>>> {
    let Some(admin) = &settings.admin else {
        return Ok(None);
    };
    let recorder = telemetry::install_recorder(C::NAME, &settings.name);
    let server = AdminServer::bind(&admin.listen, status.clone(), version, recorder).await?;
    Ok(Some(tokio::spawn(server.serve(stop.clone()))))
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let open = |kind| signal(kind).map_err(|e| Error::unavailable(NO_THREAD, "can't listen for signals").because(e));
        Ok(Self {
            terminate: open(SignalKind::terminate())?,
            interrupt: open(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// The first signal starts the shutdown; returns at the second.
    async fn twice(mut self, shutdown: &CancellationToken) {
        let name = self.next().await;
        tracing::info!(signal = name, "shutting down; a second signal stops at once");
        shutdown.cancel();
        let name = self.next().await;
        tracing::warn!(signal = name, "stopping at once");
    }
}
