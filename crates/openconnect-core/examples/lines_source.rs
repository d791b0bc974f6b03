//! A whole source with positions: one event a line of a file that only grows, resuming at a byte offset.
//!
//! A line is `key<TAB>data`; what has no line break yet is not read. It has a command of its own, `preview`.

use std::collections::BTreeMap;
use std::io::SeekFrom;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use openconnect_core::clap::{ArgMatches, Command};
use openconnect_core::cli::{CommandContext, ConnectorCommand};
use openconnect_core::cloudevents::{EventBuilder, EventBuilderV10};
use openconnect_core::config::{ConnectorConfig, Problems};
use openconnect_core::record::{Partition, Record};
use openconnect_core::source::{Emitter, NoCommit, Replay, Source, SourceContext, SourceProfile};
use openconnect_core::{Error, Exit, Failure, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

mod codes {
    openconnect_core::code_table! {
        /// The file cannot be read.
        LINES_FILE,
        /// A line cannot be an event.
        LINES_EVENT,
    }
}

/// How long to wait at the end of the file.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Read at once; the longest line.
const CHUNK: usize = 64 << 10;

/// Reads a file line by line.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LinesConfig {
    /// The file.
    #[schemars(extend("x-effect" = "the stored position is used in the new file: lines before it are NOT READ"))]
    file: PathBuf,
}

impl ConnectorConfig for LinesConfig {
    fn validate(&self, problems: &mut Problems) {
        if self.file.as_os_str().is_empty() {
            problems.add("file", "is empty");
        }
    }
}

struct LinesSource {
    file: File,
    partition: Partition,
    /// Where the next line begins.
    next: u64,
}

impl Source for LinesSource {
    const NAME: &'static str = "lines-source";
    type Config = LinesConfig;
    type Position = u64;
    type Committer = NoCommit;

    fn profile(_: &LinesConfig) -> SourceProfile {
        SourceProfile::new(Replay::FromPosition)
    }

    async fn open(config: LinesConfig, cx: SourceContext<u64>) -> Result<(Self, NoCommit)> {
        let partition = Partition::new(config.file.to_string_lossy().into_owned());
        let file = File::open(&config.file)
            .await
            .map_err(|e| Error::unavailable(codes::LINES_FILE, format!("{} can't be read", config.file.display())).because(e))?;
        let next = cx.offsets.get(&partition).copied().unwrap_or(0);
        Ok((Self { file, partition, next }, NoCommit))
    }

    async fn read(&mut self, out: &mut Emitter<u64>) -> Result<(), Failure> {
        let lines = self
            .lines()
            .await
            .map_err(|e| Failure::retryable(codes::LINES_FILE, "the file can't be read").because(e))?;
        if lines.is_empty() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let record = self.record(line)?;
            out.emit(record).await;
        }
        Ok(())
    }
}

impl LinesSource {
    /// The whole lines from `next` on.
    async fn lines(&mut self) -> std::io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(self.next)).await?;
        let mut chunk = vec![0; CHUNK];
        let read = self.file.read(&mut chunk).await?;
        let end = chunk[..read].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        chunk.truncate(end);
        Ok(chunk)
    }

    /// The event of a line, and where the file goes on behind it.
    fn record(&mut self, line: &[u8]) -> Result<Record<u64>, Failure> {
        let text = String::from_utf8_lossy(line);
        let (key, data) = text.trim_end_matches('\n').split_once('\t').unwrap_or(("", text.trim_end()));
        let event = EventBuilderV10::new()
            .id(format!("line-{}", self.next))
            .source("urn:lines")
            .ty("org.example.line")
            .extension("partitionkey", key)
            .data("application/json", data.to_owned())
            .build()
            .map_err(|e| Failure::fatal(codes::LINES_EVENT, "a line can't be an event").because(e))?;
        self.next += line.len() as u64;
        Ok(Record::event(self.partition.clone(), event).with_position(self.next))
    }
}

/// `lines-source preview`: the first lines of the file.
struct Preview;

impl ConnectorCommand<LinesConfig> for Preview {
    fn command(&self) -> Command {
        Command::new("preview").about("Prints the first lines that would be read")
    }

    fn run<'a>(&'a self, _: &'a ArgMatches, cx: CommandContext<'a, LinesConfig>) -> LocalBoxFuture<'a, Result<Exit>> {
        Box::pin(async move {
            let (mut source, _) = LinesSource::open(cx.config.clone(), SourceContext::alone("preview", BTreeMap::new())).await?;
            let lines = source
                .lines()
                .await
                .map_err(|e| Error::unavailable(codes::LINES_FILE, "the file can't be read").because(e))?;
            let lines = String::from_utf8_lossy(&lines);
            cx.print(&serde_json::json!({ "lines": lines.lines().collect::<Vec<_>>() }), || {
                lines.trim_end().to_owned()
            });
            Ok(Exit::Clean)
        })
    }
}

openconnect_core::source_main!(LinesSource, offsets = openconnect_offsets_sql::SqlOffsets, commands = [&Preview]);
