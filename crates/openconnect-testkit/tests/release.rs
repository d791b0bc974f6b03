//! Failpoints and planted defects are in no release.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

use memchr::memmem;
use openconnect_fault::Defect;
use openconnect_testkit::prove::ready_to_prove;

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

/// What a binary with failpoints and defects has in it.
fn marks() -> impl Iterator<Item = &'static str> {
    let names = Defect::ALL.iter().map(|defect| defect.name());
    ["OPENCONNECT_FAILPOINT", "OPENCONNECT_DEFECT"].into_iter().chain(names)
}

fn contains(binary: &Path, text: &str) -> bool {
    memmem::find(&std::fs::read(binary).unwrap(), text.as_bytes()).is_some()
}

/// The search finds what it looks for, in the binaries that are proved.
#[test]
fn binaries_for_the_proof_have_both() {
    if !ready_to_prove().unwrap() {
        return;
    }
    let sink = openconnect_testkit::binary::path("openconnect-http-sink").unwrap();
    for mark in ["OPENCONNECT_FAILPOINT", "OPENCONNECT_DEFECT"] {
        assert!(contains(&sink, mark), "{} does not contain `{mark}`", sink.display());
    }
}

/// The release binaries, where there are any, know neither the variables nor a defect's name.
#[test]
fn release_binaries_have_neither() {
    let folder = openconnect_testkit::binary::target().unwrap().join("release");
    let files = std::fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let ours = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("openconnect-"))
    };
    let binaries: Vec<PathBuf> = files
        .filter(|path| path.is_file() && path.extension().is_none() && ours(path))
        .collect();
    if binaries.is_empty() {
        println!(
            "skipped: release binaries without failpoints: there are none in {}",
            folder.display()
        );
    }
    for binary in binaries {
        for mark in marks() {
            assert!(!contains(&binary, mark), "{} contains `{mark}`", binary.display());
        }
    }
}
