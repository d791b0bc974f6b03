//! Logs to stderr.

use std::io::IsTerminal;

use openconnect_error::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::codes;

/// The `log:` section.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,openconnect_core=debug`.
    pub level: String,
    /// `text` or `json`. Absent: text on a terminal, JSON otherwise.
    #[schemars(example = &"json")]
    pub format: Option<LogFormat>,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: None,
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Reads a level or a filter such as `info,openconnect_core=debug`.
pub fn parse_level(level: &str) -> std::result::Result<Targets, String> {
    const HELP: &str = "is no level; one of error, warn, info, debug, trace, or a filter such as `info,openconnect_core=debug`";
    let known = |name: &str| {
        matches!(
            name.to_ascii_lowercase().as_str(),
            "off" | "error" | "warn" | "info" | "debug" | "trace"
        )
    };
    // A bare word would count as the name of a module, so that a typing error would silence everything.
    let fine = level
        .split(',')
        .all(|part| known(part.rsplit('=').next().unwrap_or_default().trim()));
    level.parse::<Targets>().ok().filter(|_| fine).ok_or_else(|| HELP.to_owned())
}

/// Starts logging. The level comes from the flag, else from `RUST_LOG`, else from the settings.
/// Does nothing when a subscriber is installed already.
pub fn init_logs(settings: &LogSettings, flag: Option<&str>) -> Result<()> {
    let environment = std::env::var("RUST_LOG").ok().filter(|level| !level.is_empty());
    let (from, level) = match (flag, environment.as_deref()) {
        (Some(level), _) => ("--log-level", level),
        (None, Some(level)) => ("RUST_LOG", level),
        (None, None) => ("log.level", settings.level.as_str()),
    };
    let filter = parse_level(level).map_err(|wrong| Error::config(codes::VALUE_REFUSED, format!("{from}: `{level}` {wrong}")))?;
    let terminal = std::io::stderr().is_terminal();
    let text = settings.format.map_or(terminal, |format| format == LogFormat::Text);
    // It would report a closed stderr on stderr, and panic.
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let layer = if text {
        layer.with_ansi(terminal).boxed()
    } else {
        layer.json().flatten_event(true).boxed()
    };
    // Whoever was first keeps it: a test, or a program that embeds the connector.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_level_is_refused() {
        assert!(parse_level("info").is_ok());
        assert!(parse_level("info,openconnect_core=debug").is_ok());
        assert!(parse_level("inof").is_err());
        assert!(parse_level("openconnect_core=loud").is_err());
        assert!(parse_level("").is_err());
    }
}
