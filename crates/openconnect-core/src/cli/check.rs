//! `check`: is the configuration right, what does it guarantee, and, with `--connect`, does everything answer?

use std::fmt::Write;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Cli, Connector, runtime};
use crate::admin::{StatusHandle, guarantee_name};
use crate::engine::App;
use crate::engine::check::{CheckReport, CheckState};
use crate::error::{Exit, Result};

pub(crate) fn check<C: Connector>(cli: &Cli, connect: bool) -> Result<Exit> {
    let loaded = cli.load::<C>()?;
    let mut log = loaded.settings.log.clone();
    // The report is the output; of the log only what explains a failure.
    log.level = "warn".to_owned();
    cli.logs(&log)?;
    let status = StatusHandle::new(&loaded.settings.name, C::NAME, cli.version);
    let app = App {
        settings: loaded.settings,
        config: loaded.connector,
        shared_offsets: cli.shared_offsets,
        status,
        drain: false,
        shutdown: CancellationToken::new(),
    };
    let runtime = runtime()?;
    let report = runtime.block_on(C::check(app, connect));
    runtime.shutdown_background();
    let report = report?;
    let failed = report.lines.iter().any(|(_, state, _)| *state == CheckState::Failed);
    cli.output.result(&as_json(&report, !failed), || as_text(&report, &loaded.origin));
    Ok(if failed { Exit::Unavailable } else { Exit::Clean })
}

fn as_json(report: &CheckReport, ok: bool) -> Value {
    let lines: Vec<Value> = report
        .lines
        .iter()
        .map(|(what, state, text)| json!({ "check": what, "state": state_name(*state), "message": text }))
        .collect();
    json!({ "ok": ok, "guarantee": guarantee_name(report.guarantee), "checks": lines })
}

fn as_text(report: &CheckReport, origin: &str) -> String {
    let mut text = format!("{:8} configuration: {origin}\n", state_name(CheckState::Ok));
    for (what, state, message) in &report.lines {
        let _ = writeln!(text, "{:8} {what}: {message}", state_name(*state));
    }
    let _ = write!(text, "guarantee: {}", guarantee_name(report.guarantee));
    text
}

fn state_name(state: CheckState) -> &'static str {
    match state {
        CheckState::Ok => "ok",
        CheckState::Warning => "warning",
        CheckState::Failed => "failed",
        CheckState::Skipped => "skipped",
    }
}
