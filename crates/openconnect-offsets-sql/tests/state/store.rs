//! What every store keeps, wherever it is; and in a database, that only the holder of the lease writes it.

use std::time::Duration;

use openconnect_core::failure::FailureKind;
use openconnect_core::store::{Change, MAX_KEY_BYTES, MAX_LISTED, MAX_TOTAL_BYTES, MAX_VALUE_BYTES, Store};
use openconnect_sql_fixtures::EmptyDatabase;

use crate::place::{LONG, acquire, open};

struct StorePlace {
    name: &'static str,
    store: Store,
    _keep: Box<dyn std::any::Any>,
}

/// An empty store in each place.
async fn places() -> Vec<StorePlace> {
    let dir = tempfile::tempdir().unwrap();
    let mut places = vec![
        StorePlace {
            name: "memory",
            store: Store::in_memory(),
            _keep: Box::new(()),
        },
        StorePlace {
            name: "file",
            store: Store::in_folder(dir.path()),
            _keep: Box::new(dir),
        },
    ];
    for database in EmptyDatabase::of_each_kind().await.unwrap() {
        places.push(StorePlace {
            name: database.name,
            store: hold(&database, "me").await,
            _keep: Box::new(database),
        });
    }
    places
}

/// The store of the instance, after the lease was taken from whoever has it.
async fn hold(database: &EmptyDatabase, owner: &str) -> Store {
    let offsets = open(&database.url, "a-source/orders").await;
    let fence = acquire(&offsets, owner, Duration::ZERO).await;
    assert!(offsets.renew(fence, Duration::ZERO).await.unwrap());
    offsets.store(fence).unwrap()
}

fn entry(key: &str, value: &[u8]) -> (String, Vec<u8>) {
    (key.to_owned(), value.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_kept_whole_in_the_order_of_their_bytes() {
    let every_byte: Vec<u8> = (0..=255).collect();
    let longest = "k".repeat(MAX_KEY_BYTES);
    // In the order of their bytes; a database's own order, its padding or its cases would mix them up.
    let keys = [
        "%",
        "?",
        "A",
        "B",
        "_",
        "a",
        "a\0",
        "a ",
        "a/1",
        "a/10",
        "a/2",
        "b",
        "k",
        &longest,
        "{p}",
        "ß",
        "ä",
        "\u{ffff}",
        "\u{10ffff}",
    ];
    for StorePlace { name, store, _keep } in places().await {
        for key in keys.iter().rev() {
            store.put(key, key.as_bytes()).await.unwrap();
        }
        let all: Vec<_> = keys.iter().map(|key| entry(key, key.as_bytes())).collect();
        assert_eq!(store.list("", 100).await.unwrap(), all, "{name}");
        assert_eq!(store.list("", 3).await.unwrap(), all[..3], "{name}");
        let found: Vec<_> = store.list("a/1", 100).await.unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(found, ["a/1", "a/10"], "{name}");
        assert!(store.list("a/3", 100).await.unwrap().is_empty(), "{name}");
        for value in [&every_byte, &vec![0xFF; MAX_VALUE_BYTES], &Vec::new()] {
            store.put("a", value).await.unwrap();
            assert_eq!(store.get("a").await.unwrap().as_ref(), Some(value), "{name}");
        }
        // The same again changes nothing, and is no refusal.
        store.put("a", b"").await.unwrap();
        store.remove("a").await.unwrap();
        store.remove("a").await.unwrap();
        assert_eq!(store.get("a").await.unwrap(), None, "{name}");
        assert_eq!(store.list("", 100).await.unwrap().len(), keys.len() - 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_changes_of_a_key_the_last_counts() {
    for StorePlace { name, store, _keep } in places().await {
        store.apply(Vec::new()).await.unwrap();
        store.put("a", b"old").await.unwrap();
        let changes = vec![
            Change::remove("a"),
            Change::put("b", b"1"),
            Change::put("a", b"new"),
            Change::put("c", b"1"),
            Change::remove("b"),
        ];
        store.apply(changes).await.unwrap();
        assert_eq!(store.list("", 10).await.unwrap(), [entry("a", b"new"), entry("c", b"1")], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_are_made_at_once() {
    for StorePlace { name, store, _keep } in places().await {
        store.put("0000", b"removed below").await.unwrap();
        let puts = (1..=2 * MAX_LISTED).map(|n| Change::put(format!("{n:04}"), n.to_string()));
        store.apply(puts.chain([Change::remove("0000")]).collect()).await.unwrap();
        let first = store.list("", usize::MAX).await.unwrap();
        assert_eq!((first.len(), &first[0]), (MAX_LISTED, &entry("0001", b"1")), "{name}");
        store
            .apply((1..2 * MAX_LISTED).map(|n| Change::remove(format!("{n:04}"))).collect())
            .await
            .unwrap();
        assert_eq!(store.list("", 10).await.unwrap(), [entry("2000", b"2000")], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_refuse_and_leave_what_was_there() {
    for StorePlace { name, store, _keep } in places().await {
        for (key, value) in [("", 1), (&*"k".repeat(MAX_KEY_BYTES + 1), 1), ("k", MAX_VALUE_BYTES + 1)] {
            let failure = store.put(key, &vec![0; value]).await.unwrap_err();
            assert_eq!(
                (failure.kind, &*failure.code.to_string()),
                (FailureKind::Permanent, "OC0242"),
                "{name}"
            );
        }
        let large = vec![7; MAX_VALUE_BYTES];
        let most = MAX_TOTAL_BYTES / (MAX_VALUE_BYTES + 3);
        store
            .apply((0..most).map(|n| Change::put(format!("{n:03}"), large.clone())).collect())
            .await
            .unwrap();
        // All or none, also of what would have fitted.
        let beyond = vec![
            Change::put("000", b"new"),
            Change::put("x", large.clone()),
            Change::put("y", large.clone()),
        ];
        let failure = store.apply(beyond).await.unwrap_err();
        assert!(failure.code == "OC0243" && failure.is_retryable(), "{name}: {failure:#}");
        assert_eq!(store.get("000").await.unwrap().unwrap(), large, "{name}");
        store.remove("001").await.unwrap();
        store.put("x", &large).await.unwrap();
        let failure = store.put("y", &large).await.unwrap_err();
        assert_eq!(failure.code, "OC0243", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_given_up_is_made_whole_or_not_at_all() {
    for StorePlace { name, store, _keep } in places().await {
        let keys = 450;
        let mut generation = 0_u32;
        let mut given_up = Duration::from_micros(100);
        loop {
            generation += 1;
            let value = generation.to_string();
            let changes = (0..keys).map(|n| Change::put(format!("{n:03}"), value.clone())).collect();
            let made = tokio::time::timeout(given_up, store.apply(changes)).await;
            let found: Vec<_> = store
                .list("", MAX_LISTED)
                .await
                .unwrap()
                .into_iter()
                .map(|(_, value)| value)
                .collect();
            let whole = found.iter().all(|value| *value == found[0]) && (found.is_empty() || found.len() == keys);
            assert!(whole, "{name}, given up after {given_up:?}: {found:?}");
            if let Ok(made) = made {
                made.unwrap();
                assert_eq!(found[0], value.as_bytes(), "{name}");
                break;
            }
            given_up = given_up * 5 / 4;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_finds_the_state_and_shuts_the_older_holder_out() {
    for database in EmptyDatabase::of_each_kind().await.unwrap() {
        let name = database.name;
        let first = hold(&database, "first").await;
        first.apply(vec![Change::put("a", b"1"), Change::put("b", b"1")]).await.unwrap();
        let second = hold(&database, "second").await;
        // Also before the successor has written.
        let many: Vec<_> = (0..500).map(|n| Change::put(format!("{n:03}"), b"stale")).collect();
        for changes in [vec![Change::put("a", b"stale")], vec![Change::remove("b")], many.clone()] {
            let failure = first.apply(changes).await.unwrap_err();
            assert!(
                failure.kind == FailureKind::Fatal && failure.code == "OC0213",
                "{name}: {failure:#}"
            );
        }
        let found = [entry("a", b"1"), entry("b", b"1")];
        assert_eq!(second.list("", 10).await.unwrap(), found, "{name}");
        second.put("a", b"2").await.unwrap();
        for changes in [vec![Change::put("a", b"stale")], vec![Change::remove("b")], many] {
            assert_eq!(first.apply(changes).await.unwrap_err().code, "OC0213", "{name}");
        }
        let found = [entry("a", b"2"), entry("b", b"1")];
        assert_eq!(second.list("", 10).await.unwrap(), found, "{name}");
        // One that goes on after both measures what is there.
        hold(&database, "third").await.remove("a").await.unwrap();
        assert_eq!(second.get("a").await.unwrap(), None, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_have_stores_of_their_own() {
    for database in EmptyDatabase::of_each_kind().await.unwrap() {
        let mut stores = Vec::new();
        for instance in ["a-source/orders", "a-source/Orders", "a-source/order"] {
            let offsets = open(&database.url, instance).await;
            let fence = acquire(&offsets, "me", LONG).await;
            let store = offsets.store(fence).unwrap();
            store.put("k", instance.as_bytes()).await.unwrap();
            stores.push((instance, store));
        }
        for (instance, store) in &stores {
            let found = store.list("", 10).await.unwrap();
            assert_eq!(found, [entry("k", instance.as_bytes())], "{}", database.name);
        }
    }
}
