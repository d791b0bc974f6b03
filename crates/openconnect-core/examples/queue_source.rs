//! A whole source of a system that keeps the offsets: a queue in a folder, which its members read.
//!
//! | file of the queue | what is in it |
//! |---|---|
//! | `log` | one event a line, which only grows |
//! | `offset` | how many lines are acknowledged, where members begin; absent at first |
//! | `members/…` | one file for each process that reads, locked while it lives |
//!

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use openconnect_core::cloudevents::{EventBuilder, EventBuilderV10};
use openconnect_core::config::{ConnectorConfig, Problems};
use openconnect_core::record::{Partition, Record};
use openconnect_core::source::{Committer, Emitter, OffsetKeeper, Replay, Source, SourceContext, SourceProfile, UpstreamOffsets};
use openconnect_core::{Error, Failure, Result};
use schemars::JsonSchema;
use serde::Deserialize;

mod codes {
    openconnect_core::code_table! {
        /// The queue cannot be used.
        QUEUE_UNUSABLE,
        /// The queue has no such partition.
        QUEUE_PARTITION,
        /// A line cannot be an event.
        QUEUE_EVENT,
    }
}

/// How long to wait while the queue has nothing new.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const PARTITION: &str = "queue";

/// Reads a queue in a folder.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct QueueConfig {
    /// The queue's folder.
    #[schemars(extend("x-effect" = "what is left in the old queue is NOT READ"))]
    queue: PathBuf,
}

impl ConnectorConfig for QueueConfig {
    fn validate(&self, problems: &mut Problems) {
        if self.queue.as_os_str().is_empty() {
            problems.add("queue", "is empty");
        }
    }
}

struct QueueSource {
    queue: Queue,
    partition: Partition,
    next: usize,
    /// Keeps the membership.
    _member: File,
}

impl Source for QueueSource {
    const NAME: &'static str = "queue-source";
    type Config = QueueConfig;
    /// How many lines are acknowledged.
    type Position = usize;
    type Committer = Queue;

    fn profile(_: &QueueConfig) -> SourceProfile {
        SourceProfile::new(Replay::FromPosition).with_offsets(OffsetKeeper::Upstream)
    }

    async fn upstream_offsets(config: QueueConfig, _: &str) -> Result<impl UpstreamOffsets<usize>> {
        Ok(Queue(config.queue))
    }

    async fn open(config: QueueConfig, cx: SourceContext<usize>) -> Result<(Self, Queue)> {
        let queue = Queue(config.queue);
        let member = queue.join(&cx.name)?;
        let source = Self {
            next: queue.offset()?.unwrap_or(0),
            queue: queue.clone(),
            partition: Partition::new(PARTITION),
            _member: member,
        };
        Ok((source, queue))
    }

    async fn read(&mut self, out: &mut Emitter<usize>) -> Result<(), Failure> {
        let log = tokio::fs::read_to_string(self.queue.0.join("log")).await.map_err(failure)?;
        let lines: Vec<&str> = log
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .skip(self.next)
            .collect();
        if lines.is_empty() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        for line in lines {
            let event = EventBuilderV10::new()
                .id(format!("line-{}", self.next))
                .source("urn:queue")
                .ty("org.example.line")
                .data("text/plain", line.trim_end().to_owned())
                .build()
                .map_err(|e| Failure::fatal(codes::QUEUE_EVENT, "a line can't be an event").because(e))?;
            self.next += 1;
            out.emit(Record::event(self.partition.clone(), event).with_position(self.next))
                .await;
        }
        Ok(())
    }
}

/// The queue, as its members and the commands see it.
#[derive(Clone)]
struct Queue(PathBuf);

impl Queue {
    /// Becomes a member, until the file is closed.
    fn join(&self, name: &str) -> Result<File> {
        let members = self.0.join("members");
        std::fs::create_dir_all(&members).map_err(error)?;
        let file = File::create(members.join(format!("{name}-{}", std::process::id()))).map_err(error)?;
        file.lock().map_err(error)?;
        Ok(file)
    }

    fn offset(&self) -> Result<Option<usize>> {
        match std::fs::read_to_string(self.0.join("offset")) {
            Ok(text) => text
                .parse()
                .map(Some)
                .map_err(|e| Error::unavailable(codes::QUEUE_UNUSABLE, "the offset is not a number").because(e)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(error(e)),
        }
    }

    fn set_offset(&self, lines: usize) -> std::io::Result<()> {
        let new = self.0.join("offset.new");
        std::fs::write(&new, lines.to_string())?;
        File::open(&new)?.sync_all()?;
        std::fs::rename(&new, self.0.join("offset"))
    }
}

/// The acknowledgement.
impl Committer<usize> for Queue {
    async fn commit(&mut self, _: &Partition, lines: &usize) -> Result<(), Failure> {
        self.set_offset(*lines).map_err(failure)
    }
}

/// `offsets show|set|reset`.
impl UpstreamOffsets<usize> for Queue {
    async fn all(&mut self) -> Result<BTreeMap<Partition, usize>> {
        let offset = self.offset()?.map(|lines| (Partition::new(PARTITION), lines));
        Ok(offset.into_iter().collect())
    }

    async fn members(&mut self) -> Result<Vec<String>> {
        let mut members = Vec::new();
        let Ok(files) = std::fs::read_dir(self.0.join("members")) else {
            return Ok(members);
        };
        for file in files {
            let file = file.map_err(error)?;
            if is_locked(&file.path())? {
                members.push(file.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(members)
    }

    async fn set(&mut self, partition: &Partition, lines: &usize) -> Result<()> {
        if partition.as_str() != PARTITION {
            return Err(Error::config(
                codes::QUEUE_PARTITION,
                format!("the queue has one partition, `{PARTITION}`"),
            ));
        }
        self.set_offset(*lines).map_err(error)
    }

    async fn reset(&mut self, _: &Partition) -> Result<()> {
        std::fs::remove_file(self.0.join("offset")).map_err(error)
    }
}

/// Is the process that made the file alive?
fn is_locked(path: &Path) -> Result<bool> {
    match File::open(path).map_err(error)?.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(e)) => Err(error(e)),
    }
}

fn error(error: std::io::Error) -> Error {
    Error::unavailable(codes::QUEUE_UNUSABLE, "the queue can't be used").because(error)
}

fn failure(error: std::io::Error) -> Failure {
    Failure::retryable(codes::QUEUE_UNUSABLE, "the queue can't be used").because(error)
}

openconnect_core::source_main!(QueueSource);
