#![allow(clippy::unwrap_used, missing_docs)]
//! A real "file too large" from the system: the test runs itself in a child whose file size limit is lowered.

use std::process::Command;

use openconnect_journal::{Journal, JournalOptions};
use rustix::process::{Resource, Rlimit, setrlimit};

const CHILD: &str = "OPENCONNECT_JOURNAL_FULL_DIR";

#[test]
fn a_full_disk_takes_nothing_and_passes() {
    if let Ok(dir) = std::env::var(CHILD) {
        return in_child(&dir);
    }
    let dir = tempfile::tempdir().unwrap();
    // The shell makes the child ignore the signal that would otherwise kill it at the limit.
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact a_full_disk_takes_nothing_and_passes"])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, dir.path())
        .status()
        .unwrap();
    assert!(status.success());
    // The limit is gone with the child: everything it had confirmed is here.
    let (journal, recovery) = Journal::open(dir.path(), JournalOptions::default()).unwrap();
    assert_eq!(recovery.truncated_bytes, 0);
    let mut out = Vec::new();
    journal.reader(1).read(usize::MAX, usize::MAX, &mut out).unwrap();
    assert_eq!(out.len() as u64, recovery.records);
    assert_eq!(&out.last().unwrap().1[..], b"after");
}

fn in_child(dir: &str) {
    let limit = |bytes| {
        setrlimit(
            Resource::Fsize,
            Rlimit {
                current: Some(bytes),
                maximum: None,
            },
        )
    };
    limit(10_000).unwrap();
    let (mut journal, _) = Journal::open(dir, JournalOptions::default()).unwrap();
    let mut kept = 0;
    let error = loop {
        match journal.append(&[[1_u8; 300], [2; 300]]) {
            Ok(_) => kept += 2,
            Err(error) => break error,
        }
    };
    assert!(error.is_full(), "{error}");
    assert_eq!(journal.next_index(), kept + 1);
    journal.sync().unwrap();
    // Smaller entries may still fit; the failed one left nothing behind.
    journal.append(&[b"small"]).unwrap();
    let mut out = Vec::new();
    journal.reader(1).read(usize::MAX, usize::MAX, &mut out).unwrap();
    assert_eq!(out.len() as u64, kept + 1);
    assert_eq!(&out.last().unwrap().1[..], b"small");
    limit(1 << 20).unwrap();
    journal.append(&[[3_u8; 300]]).unwrap();
    journal.append(&[b"after"]).unwrap();
    journal.sync().unwrap();
}
