//! A whole source with acknowledgements: one event a file of a folder, and a file is removed once its event is safe.
//!
//! The folder itself keeps the positions, as a message queue does: what is still there after a crash is read again. Writers
//! give a file its name by a rename when it is complete; names rise.

use std::path::{Path, PathBuf};
use std::time::Duration;

use openconnect_core::cloudevents::{EventBuilder, EventBuilderV10};
use openconnect_core::config::{ConnectorConfig, Problems};
use openconnect_core::record::{Partition, Record};
use openconnect_core::source::{Committer, Emitter, OffsetKeeper, Replay, Source, SourceContext, SourceProfile};
use openconnect_core::{Error, Failure, Result};
use schemars::JsonSchema;
use serde::Deserialize;

mod codes {
    openconnect_core::code_table! {
        /// The folder cannot be used.
        FOLDER_UNUSABLE,
        /// A file is too large.
        FOLDER_FILE,
        /// A file cannot be an event.
        FOLDER_EVENT,
    }
}

/// How long to wait while the folder has nothing new.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Reads a folder file by file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FolderConfig {
    /// The folder. Its files are removed once their events are safe.
    #[schemars(extend("x-effect" = "files that are left in the old folder are NOT READ"))]
    folder: PathBuf,
}

impl ConnectorConfig for FolderConfig {
    fn validate(&self, problems: &mut Problems) {
        if self.folder.as_os_str().is_empty() {
            problems.add("folder", "is empty");
        }
    }
}

struct FolderSource {
    folder: PathBuf,
    partition: Partition,
    max_event_bytes: u64,
    /// The name of the last file that was emitted by this process.
    last: String,
}

impl Source for FolderSource {
    const NAME: &'static str = "folder-source";
    type Config = FolderConfig;
    /// The name of a file: everything up to it is safe.
    type Position = String;
    type Committer = RemoveFiles;

    fn profile(_: &FolderConfig) -> SourceProfile {
        SourceProfile::new(Replay::FromPosition).with_offsets(OffsetKeeper::Upstream)
    }

    async fn check(config: FolderConfig) -> Result<()> {
        let found = names(&config.folder, "").await;
        found
            .map(drop)
            .map_err(|e| Error::unavailable(codes::FOLDER_UNUSABLE, "the source can't start").because(e))
    }

    async fn open(config: FolderConfig, cx: SourceContext<String>) -> Result<(Self, RemoveFiles)> {
        let committer = RemoveFiles {
            folder: config.folder.clone(),
        };
        let source = Self {
            folder: config.folder,
            partition: Partition::new("folder"),
            max_event_bytes: cx.max_event_bytes as u64,
            last: String::new(),
        };
        Ok((source, committer))
    }

    async fn read(&mut self, out: &mut Emitter<String>) -> Result<(), Failure> {
        let names = names(&self.folder, &self.last).await?;
        if names.is_empty() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        for name in names {
            let record = self.record(&name).await?;
            out.emit(record).await;
            self.last = name;
        }
        Ok(())
    }
}

impl FolderSource {
    async fn record(&self, name: &str) -> Result<Record<String>, Failure> {
        let path = self.folder.join(name);
        let bytes = tokio::fs::metadata(&path).await.map_err(failure)?.len();
        if bytes > self.max_event_bytes {
            let text = format!("{name} has {bytes} bytes, more than limits.max_event_bytes; move it away");
            return Err(Failure::fatal(codes::FOLDER_FILE, text));
        }
        let data = tokio::fs::read(&path).await.map_err(failure)?;
        let event = EventBuilderV10::new()
            .id(name)
            .source("urn:folder")
            .ty("org.example.file")
            .data("application/octet-stream", data)
            .build()
            .map_err(|e| Failure::fatal(codes::FOLDER_EVENT, "a file can't be an event").because(e))?;
        Ok(Record::event(self.partition.clone(), event).with_position(name.to_owned()))
    }
}

/// The acknowledgement: files whose events are safe are removed.
struct RemoveFiles {
    folder: PathBuf,
}

impl Committer<String> for RemoveFiles {
    async fn commit(&mut self, _: &Partition, position: &String) -> Result<(), Failure> {
        for name in names(&self.folder, "").await? {
            if name <= *position {
                tokio::fs::remove_file(self.folder.join(name)).await.map_err(failure)?;
            }
        }
        Ok(())
    }
}

/// The names of the files behind `after`, in order.
async fn names(folder: &Path, after: &str) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    let mut entries = tokio::fs::read_dir(folder).await.map_err(failure)?;
    while let Some(entry) = entries.next_entry().await.map_err(failure)? {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.as_str() > after && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn failure(error: std::io::Error) -> Failure {
    Failure::retryable(codes::FOLDER_UNUSABLE, "the folder can't be used").because(error)
}

openconnect_core::source_main!(FolderSource);
