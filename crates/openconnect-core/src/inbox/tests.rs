#![allow(clippy::unwrap_used)]
use std::time::Instant;

use cloudevents::{AttributesReader, EventBuilder, EventBuilderV10};
use openconnect_protocol::wire;

use super::*;

const LIMIT: Duration = Duration::from_secs(60);

/// An entry's sequence, the id of its event, and when it arrived.
type Read = (u64, String, u64);

fn open(state: &Path) -> (Inbox, Entries<(String, u64)>) {
    let options = InboxOptions {
        max_bytes: SMALLEST_SEGMENT * SEGMENTS,
        staging: true,
        ..InboxOptions::default()
    };
    Inbox::open(state, &options, Budget::with_bytes(0), |entry| {
        let event = wire::decode(entry.stored.raw).unwrap();
        ((event.id().to_owned(), entry.arrived_ms), 1)
    })
    .unwrap()
}

/// Appends an event and waits until it is durable.
async fn append(inbox: &Inbox, id: &str) {
    let event = EventBuilderV10::new()
        .id(id)
        .source("/s")
        .ty("t")
        .data("text/plain", "x".repeat(1_000));
    let (done, durable) = oneshot::channel();
    let raw = wire::encode(&event.build().unwrap(), "t").into();
    let done = move || assert!(done.send(()).is_ok());
    inbox.appender().append_replayed(raw, String::new(), done).await.unwrap();
    durable.await.unwrap();
}

async fn read(entries: &mut Entries<(String, u64)>, count: usize) -> Vec<Read> {
    let mut all = Vec::new();
    while all.len() < count {
        let chunk = tokio::time::timeout(LIMIT, entries.next()).await.unwrap().unwrap().unwrap();
        all.extend(chunk.into_entries().map(|(sequence, (id, arrived), _)| (sequence, id, arrived)));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_entries_pin_nothing_and_keep_their_sequence_and_repeats_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (mut inbox, mut entries) = open(dir.path());
    for n in 1..=400 {
        append(&inbox, &n.to_string()).await;
    }
    let all = read(&mut entries, 400).await;
    let held: Vec<Read> = all.iter().filter(|(sequence, ..)| [3, 5].contains(sequence)).cloned().collect();
    for (sequence, ..) in all.iter().filter(|(sequence, ..)| ![3, 5].contains(sequence)) {
        inbox.resolve(*sequence);
    }
    let size = |inbox: &Inbox| inbox.appender.shared.size.load(Ordering::Acquire);
    assert!(size(&inbox) > SMALLEST_SEGMENT * 4);
    let end = Instant::now() + LIMIT;
    while size(&inbox) > SMALLEST_SEGMENT * 3 {
        assert!(Instant::now() < end, "{} bytes are kept for two entries", size(&inbox));
        inbox.checkpoint_confirmed().await.await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(inbox.unresolved(&[(1, 400)]), [(3, 3), (5, 5)]);
    assert_eq!(inbox.backlog(), 2);
    let mut again = inbox
        .reread(&[(3, 3), (5, 5)], Budget::with_bytes(0), |entry| (entry.arrived_ms, 1))
        .unwrap();
    let mut reread = Vec::new();
    while let Some(chunk) = again.next().await {
        reread.extend(chunk.unwrap().into_entries().map(|(sequence, arrived, _)| (sequence, arrived)));
    }
    assert_eq!(reread, [(3, held[0].2), (5, held[1].2)]);
    drop((again, entries));
    inbox.close().await;

    // What was held comes first, as it was; what was taken before does not come again, though the journal has forgotten it.
    let (mut inbox, mut entries) = open(dir.path());
    append(&inbox, "1").await;
    append(&inbox, "new").await;
    let found = read(&mut entries, 3).await;
    assert_eq!(found[..2], held);
    assert_eq!(found[2].1, "new");
    found.iter().for_each(|(sequence, ..)| inbox.resolve(*sequence));
    inbox.checkpoint_confirmed().await.await.unwrap();
    assert_eq!(inbox.backlog(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_are_read_apart_are_not_handed_over_with_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let (inbox, entries) = open(dir.path());
    for n in 1..=5 {
        append(&inbox, &n.to_string()).await;
    }
    drop(entries);
    inbox.close().await;
    let options = InboxOptions {
        max_bytes: 1 << 20,
        staging: true,
        apart: vec![(2, 2), (4, 5)],
        ..InboxOptions::default()
    };
    let (_inbox, mut entries) = Inbox::open(dir.path(), &options, Budget::with_bytes(0), |entry| (entry.arrived_ms, 1)).unwrap();
    let chunk = tokio::time::timeout(LIMIT, entries.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(chunk.into_entries().map(|(sequence, ..)| sequence).collect::<Vec<_>>(), [1, 3]);
}
