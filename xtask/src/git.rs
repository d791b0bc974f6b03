//! Git, as far as the commands need it.

use std::path::Path;
use std::process::Command;

use crate::Result;

use crate::cargo::workspace;

/// What a command prints.
pub fn read(arguments: &[&str]) -> Result<String> {
    let output = Command::new("git").args(arguments).current_dir(workspace()).output()?;
    if !output.status.success() {
        return Err(format!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// A commit's files in another folder, instead of what was there.
pub fn checkout(commit: &str, folder: &Path) -> Result<()> {
    if folder.exists() {
        remove_checkout(folder)?;
    }
    read(&["worktree", "add", "--detach", &folder.to_string_lossy(), commit]).map(drop)
}

/// Removes what [`checkout`] made.
pub fn remove_checkout(folder: &Path) -> Result<()> {
    read(&["worktree", "remove", "--force", &folder.to_string_lossy()]).map(drop)
}
