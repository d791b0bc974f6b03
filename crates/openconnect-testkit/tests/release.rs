//! Failpoints and planted defects are in no release.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

use openconnect_fault::Defect;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Nothing in the workspace turns the features on: who wants them names them on the command line.
#[test]
fn nothing_turns_failpoints_or_defects_on() {
    let tree = Command::new(std::env::var("CARGO").unwrap())
        .args([
            "tree",
            "--offline",
            "--workspace",
            "--edges",
            "features",
            "--invert",
            "eventmesh-openconnect-fault",
        ])
        .current_dir(workspace())
        .output()
        .unwrap();
    let text = String::from_utf8(tree.stdout).unwrap();
    assert!(
        tree.status.success() && text.contains("eventmesh-openconnect-fault"),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    for feature in ["failpoints", "defects"] {
        assert!(!text.contains(&format!("feature \"{feature}\"")), "{text}");
    }
}

/// The release binaries, where there are any, know neither the variables nor a defect's name.
#[test]
fn release_binaries_have_neither() {
    let folder = workspace().join("target/release");
    let binaries: Vec<PathBuf> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.is_file()
                && path.extension().is_none()
                && path
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("openconnect-"))
        })
        .collect();
    if binaries.is_empty() {
        println!("skipped: there are no release binaries in {}", folder.display());
    }
    for binary in binaries {
        let contents = std::fs::read(&binary).unwrap();
        let names = Defect::ALL.iter().map(|defect| defect.name());
        for text in ["OPENCONNECT_FAILPOINT", "OPENCONNECT_DEFECT"].into_iter().chain(names) {
            let found = contents.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!found, "{} contains `{text}`", binary.display());
        }
    }
}
