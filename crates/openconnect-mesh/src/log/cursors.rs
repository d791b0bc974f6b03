//! Where the consumer groups of a topic stand: a small JSON file beside the log, replaced as a whole.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const FILE: &str = "groups.json";

/// Next unconsumed index by group.
pub(crate) type Cursors = BTreeMap<String, u64>;

#[derive(Debug, thiserror::Error)]
#[error("{FILE} is damaged; restore it, or remove it: every group then begins anew: {0}")]
struct Damaged(#[source] serde_json::Error);

pub(crate) fn load(topic_dir: &Path) -> io::Result<Cursors> {
    match fs::read(topic_dir.join(FILE)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, Damaged(e))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Cursors::new()),
        Err(e) => Err(e),
    }
}

pub(crate) fn save(topic_dir: &Path, cursors: &Cursors, fsync: bool) -> io::Result<()> {
    let fresh = topic_dir.join("groups.json.new");
    let mut new = OpenOptions::new();
    let mut file = new.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(&serde_json::to_vec(cursors)?)?;
    if fsync {
        file.sync_data()?;
    }
    fs::rename(&fresh, topic_dir.join(FILE))
}
