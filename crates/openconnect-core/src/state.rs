//! The folder of one instance: who owns it, and that only one process uses it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

pub use openconnect_config::folder::private_folder;
use serde::{Deserialize, Serialize};

use crate::codes;
use crate::config::{Settings, StateSettings};
use crate::error::{Error, Result};

/// The format of the state folder. A binary refuses what is newer than it knows (`OC0204`); it is raised when an older binary could not
/// read what a newer one writes.
pub const FORMAT: u32 = 1;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Instance {
    connector: String,
    name: String,
    format: u32,
}

/// An instance's folder, locked for this process until dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Where the instance `name` keeps its state.
    pub fn path_of(settings: &StateSettings, name: &str) -> PathBuf {
        settings.dir.join(name)
    }

    /// Opens or makes the folder of this instance of `connector`. Refuses a folder that another process uses (naming it),
    /// that belongs to another connector, or whose format is newer.
    pub fn open(settings: &Settings, connector: &str) -> Result<Self> {
        Self::open_at(Self::path_of(&settings.state, &settings.name), connector, &settings.name)
    }

    /// Finds out whether [`open`](Self::open) would succeed, as far as that shows without a change of the disk. Whether another process
    /// uses the folder is not looked at: it may be the one that is about to be restarted.
    ///
    /// # Errors
    ///
    /// What keeps the folder from being made or used.
    pub(crate) fn check(settings: &Settings, connector: &str) -> Result<()> {
        let path = Self::path_of(&settings.state, &settings.name);
        let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."));
        // A relative path ends with nothing, which is the current folder.
        let existing = if existing.as_os_str().is_empty() {
            Path::new(".")
        } else {
            existing
        };
        if !existing.is_dir() {
            return Err(unusable(&path, ErrorKind::NotADirectory.into()));
        }
        rustix::fs::access(existing, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).map_err(|e| unusable(&path, e.into()))?;
        read_instance(&path)?.map_or(Ok(()), |found| found.fits(&path, connector, &settings.name))
    }

    fn open_at(path: PathBuf, connector: &str, name: &str) -> Result<Self> {
        private_folder(&path).map_err(|e| unusable(&path, e))?;
        let lock = lock(&path, connector)?;
        check_instance(&path, connector, name)?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Where the input of a source has its inbox and its replays, in the instance's folder.
pub(crate) fn input_folder(instance: &Path) -> PathBuf {
    instance.join("input")
}

fn unusable(path: &Path, error: std::io::Error) -> Error {
    Error::unavailable(codes::STATE_UNUSABLE, format!("the state folder {} can't be used", path.display()))
        .because(error)
        .hint("Make it writable for this user, free some space, or set state.dir to another folder.")
}

fn lock(path: &Path, connector: &str) -> Result<File> {
    let file = path.join("lock");
    let mut lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&file)
        .map_err(|e| unusable(path, e))?;
    if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        let _ = Read::by_ref(&mut lock).take(256).read_to_string(&mut holder);
        let holder = if holder.trim().is_empty() {
            "another process"
        } else {
            holder.trim()
        };
        return Err(Error::unavailable(
            codes::STATE_IN_USE,
            format!("the state folder {} is in use by {holder}", path.display()),
        )
        .hint("Stop that process, or give this instance a name of its own (name:)."));
    }
    let write = |lock: &mut File| -> std::io::Result<()> {
        lock.set_len(0)?;
        lock.rewind()?;
        write!(lock, "{connector}, process {}", std::process::id())
    };
    write(&mut lock).map_err(|e| unusable(path, e))?;
    Ok(lock)
}

fn check_instance(path: &Path, connector: &str, name: &str) -> Result<()> {
    if let Some(found) = read_instance(path)? {
        return found.fits(path, connector, name);
    }
    let mine = Instance {
        connector: connector.to_owned(),
        name: name.to_owned(),
        format: FORMAT,
    };
    let bytes = serde_json::to_vec_pretty(&mine).map_err(|e| unusable(path, e.into()))?;
    write_atomically(&path.join("instance.json"), &bytes)
}

fn read_instance(path: &Path) -> Result<Option<Instance>> {
    let file = path.join("instance.json");
    let bytes = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unusable(path, e)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| {
        Error::unavailable(codes::STATE_CORRUPT, format!("{} is corrupt", file.display())).because(e).hint(
            "Restore the folder from a copy, or move it away to start without state (events may then be delivered again or be missing).",
        )
    })
}

impl Instance {
    fn fits(&self, path: &Path, connector: &str, name: &str) -> Result<()> {
        if self.format > FORMAT {
            return Err(Error::unavailable(
                codes::STATE_TOO_NEW,
                format!(
                    "the state folder {} has format {}, this binary knows {FORMAT}",
                    path.display(),
                    self.format
                ),
            )
            .hint("Use the newer binary that wrote it."));
        }
        if self.connector != connector || self.name != name {
            return Err(Error::config(
                codes::STATE_OF_ANOTHER,
                format!(
                    "the state folder {} belongs to the {} `{}`, not to the {connector} `{name}`",
                    path.display(),
                    self.connector,
                    self.name
                ),
            )
            .hint("Choose another name: or another state.dir."));
        }
        Ok(())
    }
}

/// Is `path`, or where it will be made, on a file system that does not outlive the machine's run or the container? Says so.
pub(crate) fn volatile(path: &Path) -> Option<&'static str> {
    /// File systems by the number that the kernel gives them (`linux/magic.h`).
    const KINDS: [(u64, &str); 3] = [
        (
            0x0102_1994,
            "It is on tmpfs, in memory: gone when the machine or the container ends",
        ),
        (0x8584_58f6, "It is on ramfs, in memory: gone when the machine ends"),
        (
            0x794c_7630,
            "It is on overlayfs, as a container's own layer: gone with the container",
        ),
    ];
    let path = std::path::absolute(path).ok()?;
    let kind = path.ancestors().find_map(|folder| rustix::fs::statfs(folder).ok())?.f_type;
    let kind = u64::try_from(kind).ok()?;
    KINDS.iter().find(|(number, _)| *number == kind).map(|(_, text)| *text)
}

/// Writes a small file so that a crash leaves the old or the new one, never a part.
pub(crate) fn write_atomically(file: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = file.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut out = File::create(&temporary)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        fs::rename(&temporary, file)?;
        if let Some(parent) = file.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    };
    write().map_err(|e| unusable(file.parent().unwrap_or(file), e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_second_opener_is_refused_and_told_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("orders");
        let first = StateDir::open_at(at.clone(), "http-sink", "orders").unwrap();
        let error = StateDir::open_at(at.clone(), "http-sink", "orders").unwrap_err();
        assert_eq!(error.code, "OC0202");
        assert!(error.reason().contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        StateDir::open_at(at, "http-sink", "orders").unwrap();
    }

    #[test]
    fn others_do_not_see_the_state() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("state/orders");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        drop(StateDir::open_at(at.clone(), "http-sink", "orders").unwrap());
        assert_eq!((mode(&at), mode(at.parent().unwrap())), (0o700, 0o700));
        // Also one that was made before, by hand.
        fs::set_permissions(&at, Permissions::from_mode(0o755)).unwrap();
        drop(StateDir::open_at(at.clone(), "http-sink", "orders").unwrap());
        assert_eq!(mode(&at), 0o700);
    }

    #[test]
    fn a_folder_in_memory_is_told_from_one_on_a_disk() {
        let text = volatile(Path::new("/dev/shm/openconnect/not/made"));
        // Where /dev/shm is no tmpfs there is nothing to see.
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        if mounts.lines().any(|line| line.contains(" /dev/shm tmpfs ")) {
            assert!(text.unwrap().contains("tmpfs"));
        }
        assert_eq!(volatile(Path::new("/proc/self")), None);
    }

    #[test]
    fn a_folder_of_another_connector_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("orders");
        drop(StateDir::open_at(at.clone(), "http-sink", "orders").unwrap());
        let error = StateDir::open_at(at.clone(), "jdbc-sink", "orders").unwrap_err();
        assert!(error.reason().contains("http-sink"), "{error}");
        fs::write(at.join("instance.json"), b"{\"conn").unwrap();
        assert_eq!(StateDir::open_at(at, "http-sink", "orders").unwrap_err().code, "OC0203");
    }
}
