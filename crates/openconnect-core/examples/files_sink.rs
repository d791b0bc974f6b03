//! A whole staging sink: events of one group in a file of JSON lines, which becomes visible when it is complete.
//!
//! Events are appended to a hidden file, `.<name>.part`, and synced. To seal is to rename it to `<name>.jsonl`: all events are visible at
//! once. The name carries group, generation and token, so that a file that is there says that its seal came through.

use std::collections::HashMap;
use std::io::{Error as IoError, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use openconnect_core::cloudevents::{AttributesReader, Event};
use openconnect_core::config::{ConnectorConfig, NO_EFFECT, Problems};
use openconnect_core::duration::HumanDuration;
use openconnect_core::sink::{Batch, WriteReport};
use openconnect_core::staging::{Group, GroupRules, Handle, OpenGroup, Repeats, Seal, Sealed, StagingContext, StagingProfile, StagingSink};
use openconnect_core::template::Template;
use openconnect_core::{Error, Failure, Result};
use openconnect_protocol::json;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::AsyncWriteExt;

mod codes {
    openconnect_core::code_table! {
        /// The folder cannot be used.
        FILES_FOLDER,
        /// A file cannot be read or written.
        FILES_IO,
    }
}

/// Writes files of JSON lines.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FilesConfig {
    /// The folder; it must exist.
    #[schemars(example = &"./out", extend("x-effect" = "files are made in the new folder from the restart on; those in the old one stay"))]
    folder: PathBuf,
    /// A template over the event: events for which it gives the same text share a file.
    #[schemars(example = &"{{ type }}", extend("x-effect" = "events that come from the restart on are grouped by it"))]
    group: String,
    /// Events in a file.
    #[schemars(example = &1000, extend("x-effect" = NO_EFFECT))]
    max_events: u64,
    /// How long a file waits for more events.
    #[schemars(example = &"1m", extend("x-effect" = NO_EFFECT))]
    max_age: HumanDuration,
}

impl ConnectorConfig for FilesConfig {
    fn validate(&self, problems: &mut Problems) {
        if self.max_events == 0 {
            problems.add("max_events", "must be more than 0");
        }
        if let Err(error) = Template::compile(&self.group) {
            problems.add("group", error.reason());
        }
    }
}

struct FilesSink {
    folder: PathBuf,
    group: Template,
    /// Where the events of each open file end, by token.
    ends: Mutex<HashMap<String, u64>>,
}

impl FilesSink {
    fn end(&self, group: &OpenGroup) -> u64 {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        // A file that begins anew, after a crash or a failed attempt, is empty.
        ends.get(group.token()).copied().filter(|_| group.staged() > 0).unwrap_or(0)
    }

    async fn append(&self, part: &Path, end: u64, lines: &[u8]) -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(part).await?;
        // What a failed attempt left behind the last good line goes.
        file.set_len(end).await?;
        tokio::io::AsyncSeekExt::seek(&mut file, std::io::SeekFrom::Start(end)).await?;
        file.write_all(lines).await?;
        // A write that failed shows in `flush`; `sync_data` would not say it.
        file.flush().await?;
        file.sync_data().await
    }
}

impl StagingSink for FilesSink {
    const NAME: &'static str = "files-sink";
    type Config = FilesConfig;

    fn profile(config: &FilesConfig) -> StagingProfile {
        let rules = GroupRules::new().max_events(config.max_events).max_age(Some(config.max_age.0));
        StagingProfile::new(rules).repeats(Repeats::Known)
    }

    async fn check(config: FilesConfig) -> Result<()> {
        fs::metadata(&config.folder).await.map(drop).map_err(|e| missing(&config.folder, e))
    }

    async fn open(config: FilesConfig, _: StagingContext) -> Result<Self> {
        Self::check(config.clone()).await?;
        Ok(Self {
            group: Template::compile(&config.group)?,
            folder: config.folder,
            ends: Mutex::default(),
        })
    }

    fn group(&self, event: &Event) -> Result<Group, Failure> {
        Ok(Group::new(self.group.render(event)?))
    }

    async fn stage(&self, group: &OpenGroup, batch: &Batch) -> WriteReport {
        let part = self.folder.join(part(group.group(), group.generation(), group.token()));
        if group.handle().is_none()
            && let Err(failure) = group.keep(Handle::new(part.to_string_lossy())).await
        {
            return WriteReport::Failed(failure);
        }
        let mut lines = Vec::new();
        for event in batch.events() {
            json::encode_into(event, &mut lines);
            lines.push(b'\n');
        }
        let end = self.end(group);
        if let Err(e) = self.append(&part, end, &lines).await {
            return WriteReport::Failed(retryable(&part, e));
        }
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.insert(group.token().to_owned(), end + lines.len() as u64);
        WriteReport::Delivered
    }

    async fn seal(&self, seal: &Seal) -> Result<(), Failure> {
        let part = self.folder.join(part(seal.group(), seal.generation(), seal.token()));
        let shown = self.folder.join(shown(seal.group(), seal.generation(), seal.token()));
        let rename = async {
            fs::rename(&part, &shown).await?;
            File::open(&self.folder).await?.sync_all().await
        };
        rename.await.map_err(|e| retryable(&shown, e))?;
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).remove(seal.token());
        Ok(())
    }

    async fn sealed(&self, seal: &Seal) -> Result<Sealed, Failure> {
        let shown = self.folder.join(shown(seal.group(), seal.generation(), seal.token()));
        let lines = match fs::read(&shown).await {
            Ok(lines) => lines,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Sealed::NotVisible),
            Err(e) => return Err(retryable(&shown, e)),
        };
        let lines: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let last = lines.last().and_then(|line| json::decode(line).ok());
        Ok(Sealed::Visible {
            count: lines.len() as u64,
            last: last.map(|event| event.id().to_owned()),
        })
    }

    async fn discard(&self, handle: &Handle) {
        match fs::remove_file(handle.as_str()).await {
            Err(e) if e.kind() != ErrorKind::NotFound => tracing::warn!("{} is left behind: {e}", handle.as_str()),
            _ => {}
        }
    }
}

fn part(group: &Group, generation: u64, token: &str) -> String {
    format!(".{}.part", name(group, generation, token))
}

fn shown(group: &Group, generation: u64, token: &str) -> String {
    format!("{}.jsonl", name(group, generation, token))
}

/// Files of one group sort by generation. The token tells groups apart whose names look alike here.
fn name(group: &Group, generation: u64, token: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let group: String = group.as_str().chars().map(safe).take(80).collect();
    format!("{group}.{generation:012}.{token}")
}

fn missing(folder: &Path, error: IoError) -> Error {
    Error::unavailable(codes::FILES_FOLDER, format!("{} can't be used", folder.display())).because(error)
}

fn retryable(path: &Path, error: IoError) -> Failure {
    Failure::retryable(codes::FILES_IO, format!("{} can't be written", path.display())).because(error)
}

openconnect_core::staging_sink_main!(FilesSink);
