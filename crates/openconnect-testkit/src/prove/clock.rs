//! Wall clocks that jump: `libfaketime`, preloaded, which reads the difference from a file. The monotonic clock stays.

use std::path::{Path, PathBuf};

use crate::Result;

/// Where Debian and others put it.
const LIBRARIES: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
];

/// The library, if it is installed (Debian: package `faketime`).
pub fn library() -> Option<PathBuf> {
    LIBRARIES.iter().map(PathBuf::from).find(|path| path.exists())
}

/// What a process needs in its environment; nothing when the library is missing.
pub(super) fn environment(file: &Path) -> Vec<(String, String)> {
    let Some(library) = library() else { return Vec::new() };
    [
        ("LD_PRELOAD", library.to_string_lossy().into_owned()),
        ("FAKETIME_TIMESTAMP_FILE", file.to_string_lossy().into_owned()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Lets the clock be this far off.
pub(super) fn set(file: &Path, seconds: i64) -> Result<()> {
    let fresh = file.with_extension("new");
    std::fs::write(&fresh, format!("{seconds:+}\n"))?;
    Ok(std::fs::rename(fresh, file)?)
}
