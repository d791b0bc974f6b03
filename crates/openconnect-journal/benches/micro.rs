//! Appends, as the inbox and the mesh's log make them. Allocations are counted.
#![allow(clippy::unwrap_used, missing_docs)]

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher};
use openconnect_journal::{Journal, JournalOptions};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const ENTRY: usize = 640;

fn main() {
    divan::main();
}

fn append(bencher: Bencher<'_, '_>, entries: usize, sync: bool) {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), JournalOptions::default()).unwrap();
    let entries = vec![vec![b'x'; ENTRY]; entries];
    bencher.counter(BytesCount::new(ENTRY * entries.len())).bench_local(|| {
        journal.append(&entries).unwrap();
        if sync {
            journal.sync().unwrap();
        }
        // What is measured would fill the disk.
        journal.truncate_before(journal.next_index()).unwrap();
    });
}

#[divan::bench(args = [1, 32, 256])]
fn append_only(bencher: Bencher<'_, '_>, entries: usize) {
    append(bencher, entries, false);
}

#[divan::bench(args = [1, 32, 256])]
fn append_and_sync(bencher: Bencher<'_, '_>, entries: usize) {
    append(bencher, entries, true);
}
