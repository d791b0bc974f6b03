//! What every place for offsets keeps: positions, the lease, and that an older holder of it writes nothing.

use std::sync::Arc;
use std::time::Duration;

use openconnect_core::offsets::{Acquired, FileStore, OffsetStore};
use openconnect_offsets_sql::SqlOffsetStore;
use openconnect_sql_fixtures::{EmptyDatabase, Server, System, database};
use serde_json::{Value, json};

use crate::place::{LONG, acquire, open};

const SHORT: Duration = Duration::from_millis(300);

/// A place, opened several times where several processes may.
struct Place {
    name: &'static str,
    one: Arc<dyn OffsetStore>,
    other: Arc<dyn OffsetStore>,
    _keep: Box<dyn std::any::Any>,
}

async fn places() -> Vec<Place> {
    let dir = tempfile::tempdir().unwrap();
    let file = FileStore::open(dir.path()).unwrap();
    let mut places = vec![Place {
        name: "file",
        one: Arc::new(file.clone()),
        other: Arc::new(file),
        _keep: Box::new(dir),
    }];
    for database in EmptyDatabase::of_each_kind().await.unwrap() {
        // Both make the tables at the same time.
        let [one, other] = ["a-source/orders"; 2].map(|instance| open(&database.url, instance));
        let (one, other) = tokio::join!(one, other);
        places.push(Place {
            name: database.name,
            one,
            other,
            _keep: Box::new(database),
        });
    }
    places
}

fn row(partition: &str, position: Value) -> (String, Value) {
    (partition.to_owned(), position)
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_are_kept_whole_and_a_reset_forgets_one() {
    for Place { name, one, other, _keep } in places().await {
        assert!(one.all().await.unwrap().is_empty(), "{name}");
        let fence = acquire(&one, "me", LONG).await;
        let large = json!({ "lsn": u64::MAX, "set": "x".repeat(900_000), "text": "ä?'\"\\{p}" });
        assert!(
            one.commit(&[row("a", large.clone()), row("A", json!(1)), row("b", json!(null))], fence)
                .await
                .unwrap()
        );
        assert!(one.commit(&[row("A", json!(2))], fence).await.unwrap(), "{name}");
        // The same again changes nothing, and is no refusal.
        assert!(one.commit(&[row("A", json!(2))], fence).await.unwrap(), "{name}");
        let all = other.all().await.unwrap();
        assert_eq!(
            (&all["a"], &all["A"], &all["b"], all.len()),
            (&large, &json!(2), &json!(null), 3),
            "{name}"
        );
        assert!(one.reset("a", fence).await.unwrap(), "{name}");
        assert!(!one.reset("a", fence).await.unwrap(), "{name}");
        assert_eq!(other.all().await.unwrap().len(), 2, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_partitions_are_stored_at_once() {
    for Place { name, one, _keep, .. } in places().await {
        let fence = acquire(&one, "me", LONG).await;
        let rows: Vec<_> = (0..1001).map(|n| row(&format!("p{n}"), json!(n))).collect();
        assert!(one.commit(&rows, fence).await.unwrap());
        let all = one.all().await.unwrap();
        assert!(all.len() == 1001 && all["p1000"] == json!(1000), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_holds_the_lease_and_its_successor_shuts_it_out() {
    for Place { name, one, other, _keep } in places().await {
        let first = acquire(&one, "first", SHORT).await;
        // The same process that asks again, after an answer that was lost, gets it.
        let first_again = acquire(&one, "first", SHORT).await;
        assert!(first_again > first, "{name}");
        assert!(one.commit(&[row("p", json!(1))], first_again).await.unwrap(), "{name}");
        assert!(one.renew(first_again, LONG).await.unwrap(), "{name}");
        match other.acquire("second", LONG).await.unwrap() {
            Acquired::Held { owner, left } => assert!(
                owner == "first" && left > Duration::from_secs(30) && left <= LONG,
                "{name} {left:?}"
            ),
            Acquired::Granted(_) => panic!("{name}: two hold the lease"),
        }
        // Its time is over: it still may write and renew, as long as nobody has taken it.
        assert!(one.renew(first_again, Duration::ZERO).await.unwrap(), "{name}");
        assert!(one.commit(&[row("p", json!(2))], first_again).await.unwrap(), "{name}");
        let second = loop {
            match other.acquire("second", LONG).await.unwrap() {
                Acquired::Granted(fence) => break fence,
                Acquired::Held { .. } => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        assert!(second > first_again, "{name}");
        assert!(other.commit(&[row("p", json!(3))], second).await.unwrap(), "{name}");
        assert!(
            !one.commit(&[row("p", json!(0))], first_again).await.unwrap(),
            "{name}: an older holder wrote"
        );
        assert!(!one.reset("p", first_again).await.unwrap(), "{name}");
        assert!(!one.renew(first_again, LONG).await.unwrap(), "{name}");
        one.release(first_again).await.unwrap();
        assert_eq!(other.all().await.unwrap()["p"], json!(3), "{name}");
        assert!(matches!(one.acquire("first", LONG).await.unwrap(), Acquired::Held { .. }), "{name}");
        other.release(second).await.unwrap();
        assert!(acquire(&one, "first", LONG).await > second, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_gets_the_lease() {
    for Place { name, one, other, _keep } in places().await {
        let asked = (0..8).map(|n| {
            let store = if n % 2 == 0 { Arc::clone(&one) } else { Arc::clone(&other) };
            tokio::spawn(async move { store.acquire(&format!("owner {n}"), LONG).await })
        });
        let mut granted = 0;
        for answer in asked.collect::<Vec<_>>() {
            granted += usize::from(matches!(answer.await.unwrap().unwrap(), Acquired::Granted(_)));
        }
        assert_eq!(granted, 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_do_not_see_each_other() {
    for system in System::ALL {
        let Some(database) = database(system).await.unwrap() else {
            continue;
        };
        for instance in ["a-source/orders", "a-source/Orders"] {
            let store = open(&database.url, instance).await;
            let fence = acquire(&store, instance, LONG).await;
            assert!(store.commit(&[row("p", json!(instance))], fence).await.unwrap());
            assert_eq!(store.all().await.unwrap()["p"], json!(instance));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_there_need_no_right_to_make_them() {
    let Some(database) = database(System::Postgres).await.unwrap() else {
        return;
    };
    open(&database.url, "a/a").await;
    let role = format!("reader_{}", std::process::id());
    let sql = format!(
        "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN PASSWORD 'p-w'; REVOKE CREATE ON SCHEMA public FROM PUBLIC; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON oc_offsets, oc_leases, oc_store TO {role}"
    );
    database.execute(&sql).await.unwrap();
    let url = database.url.replace("openconnect:openconnect@", &format!("{role}:p-w@"));
    let store = open(&url, "a/a").await;
    let fence = acquire(&store, "me", LONG).await;
    assert!(store.commit(&[row("p", json!(1))], fence).await.unwrap());
    let own = store.store(fence).unwrap();
    own.put("k", b"v").await.unwrap();
    own.remove("k").await.unwrap();
    let refused = SqlOffsetStore::open(&url, "others_", "a/a", LONG).await.err().unwrap();
    assert!(
        refused.code == "OC0212" && refused.reason().contains("permission denied") && !refused.reason().contains("p-w"),
        "{refused}"
    );
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_is_used_again() {
    for system in System::ALL {
        let Some(server) = Server::start(system).await.unwrap() else {
            continue;
        };
        let database = server.database().await.unwrap();
        let store = open(&database.url, "a/a").await;
        let fence = acquire(&store, "me", LONG).await;
        assert!(store.commit(&[row("p", json!(1))], fence).await.unwrap());
        let own = store.store(fence).unwrap();
        own.put("k", b"before").await.unwrap();
        server.kill().unwrap();
        let error = store.commit(&[row("p", json!(2))], fence).await.unwrap_err();
        assert!(error.code == "OC0212" && !error.reason().contains("openconnect:"), "{error}");
        let failure = own.put("k", b"meanwhile").await.unwrap_err();
        assert!(
            failure.code == "OC0241" && failure.is_retryable() && !failure.reason().contains("openconnect:"),
            "{failure:#}"
        );
        server.restart().unwrap();
        assert_eq!(store.all().await.unwrap()["p"], json!(1));
        assert!(store.commit(&[row("p", json!(2))], fence).await.unwrap());
        assert!(store.renew(fence, LONG).await.unwrap());
        assert_eq!(own.get("k").await.unwrap().unwrap(), b"before");
        own.put("k", b"after").await.unwrap();
        assert_eq!(own.get("k").await.unwrap().unwrap(), b"after");
    }
}
