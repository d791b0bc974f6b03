//! A whole sink: prints the id of every event.

use std::io::Write;

use openconnect_core::cloudevents::AttributesReader;
use openconnect_core::config::{ConnectorConfig, Problems};
use openconnect_core::secret::Secret;
use openconnect_core::sink::{Batch, Sink, SinkContext, SinkProfile, WriteReport};
use openconnect_core::{Failure, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// Prints the id of every event to stdout.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PrintConfig {
    /// Text before every id.
    #[serde(default)]
    prefix: String,
    /// Not used; shows how a secret is declared.
    key: Option<Secret>,
}

impl ConnectorConfig for PrintConfig {
    fn validate(&self, problems: &mut Problems) {
        if self.prefix.contains('\n') {
            problems.add("prefix", "may not hold a line break");
        }
        if self.key.as_ref().is_some_and(|key| key.expose().is_empty()) {
            problems.add("key", "is empty");
        }
    }
}

struct PrintSink {
    prefix: String,
}

impl Sink for PrintSink {
    const NAME: &'static str = "print-sink";
    type Config = PrintConfig;

    fn profile(_: &PrintConfig) -> SinkProfile {
        SinkProfile::new()
    }

    async fn check(_: PrintConfig) -> Result<()> {
        Ok(())
    }

    async fn open(config: PrintConfig, _: SinkContext) -> Result<Self> {
        Ok(Self { prefix: config.prefix })
    }

    async fn write(&self, batch: &Batch) -> WriteReport {
        let mut out = std::io::stdout().lock();
        for event in batch.events() {
            if let Err(e) = writeln!(out, "{}{}", self.prefix, event.id()) {
                return WriteReport::Failed(Failure::retryable("PRINT_IO", e.to_string()));
            }
        }
        WriteReport::Delivered
    }
}

openconnect_core::sink_main!(PrintSink);
