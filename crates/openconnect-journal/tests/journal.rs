#![allow(clippy::unwrap_used, missing_docs)]
//! The journal through its public face: order, recovery, truncation, two openers, a live look from outside.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use openconnect_journal::{Journal, JournalError, JournalOptions, ReadOnlyJournal, Reader};
use proptest::prelude::*;

fn options(segment_bytes: u64) -> JournalOptions {
    JournalOptions {
        segment_bytes,
        fsync: false,
    }
}

fn drain(reader: &mut Reader) -> Vec<(u64, Bytes)> {
    let mut out = Vec::new();
    while reader.read(7, 1 << 16, &mut out).unwrap() > 0 {}
    out
}

fn all(journal: &Journal) -> Vec<(u64, Bytes)> {
    drain(&mut journal.reader(1))
}

fn last_segment(dir: &Path) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "seg"));
    files.sort();
    files.pop().unwrap()
}

#[test]
fn keeps_order_over_segments_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..3_u64 {
        let (mut journal, recovery) = Journal::open(dir.path(), options(4096)).unwrap();
        assert_eq!(recovery.records, expected.len() as u64);
        assert_eq!(recovery.truncated_bytes, 0);
        for n in 0..50_u64 {
            let entry = vec![u8::try_from(round).unwrap(); usize::try_from(n * 7).unwrap()];
            let range = journal.append(std::slice::from_ref(&entry)).unwrap();
            expected.push((*range.start(), Bytes::from(entry)));
        }
        journal.sync().unwrap();
        assert_eq!(all(&journal), expected);
        assert!(journal.segments().len() > 1);
    }
    assert_eq!(expected.last().unwrap().0, 150);
}

#[test]
fn an_entry_larger_than_a_segment_and_a_chunk_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), options(1024)).unwrap();
    let big = vec![7_u8; 3 << 20];
    journal.append(&[b"a".to_vec(), big.clone(), b"b".to_vec()]).unwrap();
    let got = all(&journal);
    assert_eq!(got.len(), 3);
    assert_eq!(got[1].1, big);
    assert_eq!(got[2].1, &b"b"[..]);
}

#[test]
fn a_reader_follows_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), options(100)).unwrap();
    let mut reader = journal.reader(1);
    let mut seen = 0;
    for n in 0..40_u32 {
        journal.append(&[n.to_le_bytes()]).unwrap();
        for (index, bytes) in drain(&mut reader) {
            seen += 1;
            assert_eq!(index, seen);
            assert_eq!(bytes, (u32::try_from(seen).unwrap() - 1).to_le_bytes()[..]);
        }
        assert_eq!(seen, u64::from(n) + 1);
    }
}

#[test]
fn truncation_drops_whole_segments_and_readers_skip_the_gap() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), options(256)).unwrap();
    for n in 0..100_u32 {
        journal.append(&[n.to_le_bytes()]).unwrap();
    }
    let mut reader = journal.reader(1);
    let size = journal.size_bytes();
    assert!(journal.truncate_before(60).unwrap() > 0);
    assert!(journal.size_bytes() < size);
    let first = journal.first_index();
    assert!(first > 1 && first <= 60);
    let got = drain(&mut reader);
    assert_eq!(got.first().unwrap().0, first);
    assert_eq!(got.last().unwrap().0, 100);
    journal.truncate_before(u64::MAX).unwrap();
    assert_eq!(journal.segments().len(), 1);
    drop(journal);
    let (journal, _) = Journal::open(dir.path(), options(256)).unwrap();
    assert_eq!(journal.next_index(), 101);
}

#[test]
fn damage_in_the_middle_is_an_error_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), options(1 << 20)).unwrap();
    journal.append(&[[1_u8; 100], [2; 100], [3; 100]]).unwrap();
    drop(journal);
    let file = last_segment(dir.path());
    let mut bytes = fs::read(&file).unwrap();
    bytes[16 + 116 + 50] ^= 1;
    fs::write(&file, bytes).unwrap();
    match Journal::open(dir.path(), options(1 << 20)).unwrap_err() {
        JournalError::Corrupt { path, offset, .. } => assert_eq!((path, offset), (file, 132)),
        other => panic!("{other}"),
    }
}

#[test]
fn a_second_opener_is_refused_and_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = Journal::open(dir.path(), options(1 << 20)).unwrap();
    let error = Journal::open(dir.path(), options(1 << 20)).unwrap_err();
    assert!(matches!(error, JournalError::Locked { .. }));
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    drop(first);
    Journal::open(dir.path(), options(1 << 20)).unwrap();
}

#[test]
fn a_look_from_outside_needs_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), options(200)).unwrap();
    journal.append(&[b"one", b"two"]).unwrap();
    let view = ReadOnlyJournal::open(dir.path()).unwrap();
    let mut reader = view.reader(1);
    assert_eq!(drain(&mut reader).len(), 2);
    for n in 0..50_u64 {
        journal.append(&[n.to_le_bytes()]).unwrap();
    }
    view.refresh().unwrap();
    assert_eq!(drain(&mut reader).len(), 50);
    assert_eq!(view.next_index(), journal.next_index());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is left of the last write, entries before it come back and writing goes on.
    #[test]
    fn a_torn_tail_is_cut_off(
        sizes in prop::collection::vec(0_usize..300, 1..40),
        segment in 64_u64..4000,
        cut in 1_usize..400,
        junk in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path(), options(segment)).unwrap();
        let entries: Vec<Vec<u8>> =
            sizes.iter().enumerate().map(|(i, n)| vec![u8::try_from(i).unwrap(); *n]).collect();
        for entry in &entries {
            journal.append(std::slice::from_ref(entry)).unwrap();
        }
        let kept_before = journal.segments().last().unwrap().base - 1;
        drop(journal);
        let file = last_segment(dir.path());
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len().saturating_sub(cut)]).unwrap();
        OpenOptions::new().append(true).open(&file).unwrap().write_all(&junk).unwrap();

        let opened = Journal::open(dir.path(), options(segment));
        // Junk in place of the whole file header is damage, not a torn tail.
        if bytes.len() <= cut + 15 && bytes.len().saturating_sub(cut) + junk.len() > 16 {
            prop_assert!(opened.is_err());
            return Ok(());
        }
        let (mut journal, recovery) = opened.unwrap();
        let got = all(&journal);
        prop_assert_eq!(recovery.records, got.len() as u64);
        prop_assert!(got.len() as u64 >= kept_before);
        for (i, (index, bytes)) in got.iter().enumerate() {
            prop_assert_eq!(*index, i as u64 + 1);
            prop_assert_eq!(bytes, &entries[i]);
        }
        journal.append(&[b"next"]).unwrap();
        let again = all(&journal);
        prop_assert_eq!(again.len(), got.len() + 1);
        prop_assert_eq!(&again.last().unwrap().1[..], &b"next"[..]);
    }
}
