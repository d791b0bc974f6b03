//! A whole sink: prints the id of every event. It has a command of its own, `preview`.

use std::io::Write;

use futures_util::future::LocalBoxFuture;
use openconnect_core::clap::{Arg, ArgMatches, Command};
use openconnect_core::cli::{CommandContext, ConnectorCommand};
use openconnect_core::cloudevents::AttributesReader;
use openconnect_core::config::{ConnectorConfig, NO_EFFECT, Problems};
use openconnect_core::secret::Secret;
use openconnect_core::sink::{Batch, Sink, SinkContext, SinkProfile, WriteReport};
use openconnect_core::{Exit, Failure, Result};
use schemars::JsonSchema;
use serde::Deserialize;

mod codes {
    openconnect_core::code_table! {
        /// Stdout cannot be written.
        PRINT_IO,
    }
}

/// Prints the id of every event to stdout.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PrintConfig {
    /// Text before every id.
    #[serde(default)]
    #[schemars(extend("x-effect" = "lines look different from the restart on"))]
    prefix: String,
    /// Not used; shows how a secret is declared.
    #[schemars(extend("x-effect" = NO_EFFECT))]
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
                return WriteReport::Failed(Failure::retryable(codes::PRINT_IO, "stdout can't be written").because(e));
            }
        }
        WriteReport::Delivered
    }
}

/// `print-sink preview ID`: what would be printed for an event.
struct Preview;

impl ConnectorCommand<PrintConfig> for Preview {
    fn command(&self) -> Command {
        let id = Arg::new("id").required(true).help("The event's id");
        Command::new("preview").about("Prints what would be printed for an event").arg(id)
    }

    fn run<'a>(&'a self, arguments: &'a ArgMatches, cx: CommandContext<'a, PrintConfig>) -> LocalBoxFuture<'a, Result<Exit>> {
        Box::pin(async move {
            let id = arguments.get_one::<String>("id").map_or("", String::as_str);
            let line = format!("{}{id}", cx.config.prefix);
            cx.print(&serde_json::json!({ "line": line }), || line.clone());
            Ok(Exit::Clean)
        })
    }
}

openconnect_core::sink_main!(PrintSink, commands = [&Preview]);
