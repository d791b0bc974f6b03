//! Files that become visible when they are complete: for the `files_sink` example, and for new staging sinks until they have a system
//! of their own.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use openconnect_protocol::{json, payload};
use serde_json::{Value, json};

use crate::kit::Kit;
use crate::oracle::{Arrived, hash};
use crate::prove::fault::Trouble;
use crate::prove::subject::{Later, Output};

struct Files {
    binary: &'static str,
    folder: PathBuf,
}

/// For the example.
pub fn output(kit: &Kit) -> Later<'_, Arc<dyn Output>> {
    of(kit, "examples/files_sink")
}

/// For a sink that writes such files: events of one key in their order, in files whose names sort by it.
pub fn of<'k>(kit: &'k Kit, binary: &'static str) -> Later<'k, Arc<dyn Output>> {
    let folder = kit.file("files");
    Box::pin(async move {
        std::fs::create_dir(&folder)?;
        // The sink may run as somebody else.
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777))?;
        Ok(Arc::new(Files { binary, folder }) as Arc<dyn Output>)
    })
}

impl Output for Files {
    fn binary(&self) -> &'static str {
        self.binary
    }

    fn address(&self) -> Option<SocketAddr> {
        None
    }

    fn section(&self, _: Option<SocketAddr>) -> Value {
        json!({ "folder": self.folder, "group": "{{ partitionkey }}", "max_events": 25, "max_age": "300ms" })
    }

    /// What is visible, once for each line: a repeat is counted.
    fn arrived(&self) -> Later<'_, Vec<Arrived>> {
        Box::pin(async {
            let mut files: Vec<PathBuf> = std::fs::read_dir(&self.folder)?
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
                .collect();
            files.sort();
            let mut arrived = Vec::new();
            for file in files {
                let text = std::fs::read(&file)?;
                for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    // Half a line would be an event that nobody sent.
                    let (id, content) = match json::decode(line) {
                        Ok(event) => (
                            cloudevents::AttributesReader::id(&event).to_owned(),
                            payload::bytes(&event).unwrap_or_default().into_owned(),
                        ),
                        Err(_) => (format!("broken line in {}", file.display()), line.to_vec()),
                    };
                    arrived.push(Arrived { id, hash: hash(&content) });
                }
            }
            Ok(arrived)
        })
    }

    /// A folder makes no trouble of its own; faults of the disk come from the plan.
    fn trouble(&self, _: Option<Trouble>) -> Later<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}
