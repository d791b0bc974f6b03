//! The dead-letter file: one CloudEvent a line, synced before it counts, rotated by size, nothing deleted.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::codes;
use crate::config::DeadLetterSettings;
use crate::error::{Error, Result};
use crate::failure::Failure;

/// Where the file is.
pub(super) fn path(settings: &DeadLetterSettings, state: &Path) -> PathBuf {
    settings.file.clone().unwrap_or_else(|| state.join("dead-letters.jsonl"))
}

/// The size at which it is rotated.
pub(super) fn rotate(settings: &DeadLetterSettings) -> u64 {
    settings.rotate.0
}

/// The file of rotation `number`, beside the current one.
pub(super) fn rotated(path: &Path, number: u32) -> PathBuf {
    path.with_extension(format!("{number}.jsonl"))
}

/// The rotated files, oldest first, then the current one; only those that exist.
pub(super) fn all(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = (1..).map(|number| rotated(path, number)).take_while(|file| file.exists()).collect();
    if path.exists() {
        files.push(path.to_owned());
    }
    files
}

/// The open file.
pub(super) struct LetterFile {
    path: PathBuf,
    rotate: u64,
    file: File,
    size: u64,
}

impl LetterFile {
    pub(super) fn open(path: PathBuf, rotate: u64) -> Result<Self> {
        let (file, size) = open(&path).map_err(|e| {
            Error::unavailable(
                codes::DEAD_LETTERS_UNUSABLE,
                format!("the dead-letter file {} can't be opened", path.display()),
            )
            .because(e)
            .hint("Make the file writable, or set dead_letter.file or dead_letter.topic.")
        })?;
        Ok(Self { path, rotate, file, size })
    }

    /// Appends one line; it is on disk when this returns `Ok`.
    pub(super) fn append(&mut self, mut line: Vec<u8>) -> std::result::Result<(), Failure> {
        line.push(b'\n');
        self.write(&line).map_err(|e| {
            // Half a line may be there: close it off, so that the next one stands alone.
            let _ = self.file.set_len(self.size);
            Failure::retryable(
                codes::DEAD_LETTER_UNWRITTEN,
                format!("the dead-letter file {} can't be written", self.path.display()),
            )
            .because(e)
        })
    }

    fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        if self.size > 0 && self.size + line.len() as u64 > self.rotate {
            let free = (1..).map(|number| rotated(&self.path, number)).find(|file| !file.exists());
            fs::rename(&self.path, free.unwrap_or_else(|| self.path.with_extension("last.jsonl")))?;
            (self.file, self.size) = open(&self.path)?;
        }
        self.file.write_all(line)?;
        self.file.sync_data()?;
        self.size += line.len() as u64;
        Ok(())
    }
}

fn open(path: &Path) -> std::io::Result<(File, u64)> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    let mut size = file.metadata()?.len();
    if size > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            size += 1;
        }
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        File::open(parent)?.sync_all()?;
    }
    Ok((file, size))
}
