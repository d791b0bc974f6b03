//! A segment of any content: it is cut off at its torn end or refused, and takes new entries after that.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openconnect_journal::{Journal, JournalOptions, ReadOnlyJournal};

fuzz_target!(|input: &[u8]| {
    let Some((whole, bytes)) = input.split_first() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let mut segment = Vec::new();
    if whole % 2 == 1 {
        segment.extend_from_slice(b"OCJRNL01");
        segment.extend_from_slice(&1_u64.to_le_bytes());
    }
    segment.extend_from_slice(bytes);
    std::fs::write(dir.path().join(format!("{:020}.seg", 1)), &segment).expect("a file can be written");
    let options = JournalOptions {
        segment_bytes: 4096,
        fsync: false,
    };
    if let Ok(view) = ReadOnlyJournal::open(dir.path()) {
        let _ = view.reader(1).read(100, 1 << 20, &mut Vec::new());
    }
    let Ok((mut journal, recovery)) = Journal::open(dir.path(), options.clone()) else { return };
    assert!(recovery.truncated_bytes <= segment.len() as u64);
    let before = journal.next_index();
    journal.append(&[b"one", b"two"]).expect("room");
    journal.sync().expect("a disk");
    drop(journal);
    let (journal, recovery) = Journal::open(dir.path(), options).expect("it was good");
    assert_eq!((recovery.truncated_bytes, journal.next_index()), (0, before + 2));
    let mut entries = Vec::new();
    let mut reader = journal.reader(1);
    while reader.read(100, 1 << 20, &mut entries).expect("it was good") > 0 {}
    assert_eq!(entries.len() as u64, before + 1);
    assert_eq!(entries.last().map(|(index, bytes)| (*index, &bytes[..])), Some((before + 1, &b"two"[..])));
});
