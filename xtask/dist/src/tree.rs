//! Files with their places and modes, packed without anything of this machine: no owner, no time but the commit's.

use std::collections::BTreeMap;
use std::io::Write as _;

use flate2::{Compression, GzBuilder};
use ring::digest::{SHA256, digest};
use xtask::Result;

/// One file.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) mode: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Files by their paths, without a leading `/`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    pub(crate) files: BTreeMap<String, File>,
    /// Empty folders with mode and owner.
    pub(crate) folders: BTreeMap<String, (u32, u64)>,
}

impl Tree {
    pub(crate) fn add(&mut self, path: impl Into<String>, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), File { mode, bytes: bytes.into() });
    }

    /// As tar, each path below `prefix`.
    pub(crate) fn tar(&self, prefix: &str, epoch: u64) -> Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut made = std::collections::BTreeSet::new();
        let mut folder = |tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, owner: u64| -> Result<()> {
            if made.insert(path.to_owned()) {
                let mut header = header(0, mode, epoch, tar::EntryType::Directory);
                header.set_uid(owner);
                header.set_gid(owner);
                tar.append_data(&mut header, format!("{path}/"), std::io::empty())?;
            }
            Ok(())
        };
        let paths = self.files.keys().chain(self.folders.keys());
        let parents: std::collections::BTreeSet<String> = paths.flat_map(|path| parents(&format!("{prefix}{path}"))).collect();
        for path in &parents {
            folder(&mut tar, path, 0o755, 0)?;
        }
        for (path, (mode, owner)) in &self.folders {
            folder(&mut tar, &format!("{prefix}{path}"), *mode, *owner)?;
        }
        for (path, file) in &self.files {
            let mut header = header(file.bytes.len() as u64, file.mode, epoch, tar::EntryType::Regular);
            tar.append_data(&mut header, format!("{prefix}{path}"), file.bytes.as_slice())?;
        }
        Ok(tar.into_inner()?)
    }
}

fn header(size: u64, mode: u32, epoch: u64, ty: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(epoch);
    header.set_entry_type(ty);
    header
}

/// The folders above a path, outermost first.
fn parents(path: &str) -> Vec<String> {
    let ends = path.match_indices('/').map(|(at, _)| at);
    ends.map(|end| path.get(..end).unwrap_or_default().to_owned())
        .filter(|folder| !folder.is_empty() && folder != ".")
        .collect()
}

/// Without name and time.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gzip.write_all(bytes)?;
    Ok(gzip.finish()?)
}

/// In hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_same_files_are_the_same_bytes_and_folders_come_first() {
        let mut tree = Tree::default();
        tree.add("usr/bin/a", 0o755, "binary");
        tree.folders.insert("etc/openconnect".into(), (0o750, 0));
        let first = tree.tar("./", 7).unwrap();
        assert_eq!(first, tree.clone().tar("./", 7).unwrap());
        let mut archive = tar::Archive::new(first.as_slice());
        let entries: Vec<(String, u64, u32)> = archive
            .entries()
            .unwrap()
            .map(Result::unwrap)
            .map(|e| {
                (
                    e.path().unwrap().display().to_string(),
                    e.header().mtime().unwrap(),
                    e.header().mode().unwrap(),
                )
            })
            .collect();
        let names: Vec<&str> = entries
            .iter()
            .map(|(name, ..)| name.trim_start_matches("./").trim_end_matches('/'))
            .collect();
        assert_eq!(names, ["etc", "usr", "usr/bin", "etc/openconnect", "usr/bin/a"]);
        assert!(entries.iter().all(|(_, time, _)| *time == 7));
        assert_eq!(entries.last().unwrap().2, 0o755);
    }
}
