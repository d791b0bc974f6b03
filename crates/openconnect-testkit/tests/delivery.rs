//! The main job with real binaries: HTTP in, mesh, HTTP and SQL out; killed, stalled, poisoned; then counted.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use openconnect_sql_fixtures::table;
use openconnect_testkit::connector::Connector;
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::oracle::judge;
use openconnect_testkit::receiver::{Fault, Receiver};
use openconnect_testkit::sender::{Load, Sender};
use rustix::process::Signal;
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(120);
/// How long the target is down.
const DOWN: Duration = Duration::from_secs(60);

async fn source(kit: &Kit, mesh: &Mesh, extra: Value) -> (Connector, SocketAddr) {
    let address = free_address().unwrap();
    let mut settings =
        json!({ "mesh": { "url": mesh.url(), "topic": "orders", "reconnect_max": "200ms" }, "source": { "listen": address } });
    openconnect_testkit::connector::merge(&mut settings, extra);
    (
        Connector::start(kit, "openconnect-http-source", "hook", settings).await.unwrap(),
        address,
    )
}

async fn http_sink(kit: &Kit, mesh: &Mesh, receiver: &Receiver, extra: Value) -> Connector {
    let mut settings = json!({
        "mesh": { "url": mesh.url(), "topic": "orders", "reconnect_max": "200ms" },
        "sink": { "url": receiver.url(), "mode": "batch" },
        "delivery": { "retry": { "initial": "20ms", "max": "200ms" } },
    });
    openconnect_testkit::connector::merge(&mut settings, extra);
    Connector::start(kit, "openconnect-http-sink", "out", settings).await.unwrap()
}

fn sql_settings(kit: &Kit, mesh: &Mesh) -> Value {
    json!({
        "mesh": { "url": mesh.url(), "topic": "orders", "reconnect_max": "200ms" },
        "sink": {
            "url": format!("sqlite://{}", kit.file("orders.db").display()), "create": true, "table": "orders", "key": ["id"],
            "columns": { "id": "id", "k": "partitionkey", "n": "data.number" },
            "init_statements": [
                "create table if not exists orders (id text primary key, k text not null, n integer not null)",
                "create table if not exists arrivals (at integer primary key, k text not null, n integer not null)",
                "create trigger if not exists arrived after insert on orders begin insert into arrivals (k, n) values (new.k, new.n); end",
            ],
        },
    })
}

/// Source, both sinks and the mesh are killed at random moments under load; every confirmed event arrives, in order per key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_kills_lose_nothing() {
    let mut kit = Kit::new("a_hundred_kills_lose_nothing").unwrap();
    let kills: u64 = std::env::var("OPENCONNECT_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let mut mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let (mut hook, address) = source(&kit, &mesh, json!({})).await;
    let mut out = http_sink(&kit, &mesh, &receiver, json!({})).await;
    let mut sql = Connector::start(&kit, "openconnect-jdbc-sink", "sql", sql_settings(&kit, &mesh))
        .await
        .unwrap();
    let load = Load {
        within: Duration::from_secs(3),
        ..Load::new(address)
    };
    let sender = Sender::start(&load, usize::MAX / 2);
    let mut killed = [0; 4];
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(kit.pick(5..150))).await;
        let which = kit.pick(0..4) as usize;
        killed[which] += 1;
        match which {
            0 => {
                hook.kill().await.unwrap();
                hook.launch().unwrap();
            }
            1 => {
                out.kill().await.unwrap();
                out.launch().unwrap();
            }
            2 => {
                sql.kill().await.unwrap();
                sql.launch().unwrap();
            }
            _ => {
                mesh.process.kill().await.unwrap();
                mesh.restart().await.unwrap();
            }
        }
    }
    for connector in [&mut hook, &mut out, &mut sql] {
        connector.ready().await.unwrap();
    }
    let sending = sender.stop().await;
    let ids: HashSet<&str> = sending.confirmed.iter().map(|sent| sent.id.as_str()).collect();
    let complete = || {
        receiver
            .arrived()
            .iter()
            .map(|arrived| arrived.id.clone())
            .filter(|id| ids.contains(id.as_str()))
            .collect::<HashSet<_>>()
            .len()
    };
    let end = Instant::now() + LONG;
    while complete() < ids.len() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let verdict = judge(&sending.confirmed, &sending.open, &receiver.arrived());
    println!(
        "{} kills (source {}, http sink {}, sql sink {}, mesh {}), {} events; http: {verdict}",
        kills,
        killed[0],
        killed[1],
        killed[2],
        killed[3],
        ids.len()
    );
    assert!(verdict.is_clean(), "{verdict}");
    let in_table = async || -> HashSet<String> {
        table::query(&kit.file("orders.db"), "select id from orders")
            .await
            .unwrap()
            .into_iter()
            .flatten()
            .collect()
    };
    let end = Instant::now() + LONG;
    let missing = loop {
        let have = in_table().await;
        let missing: Vec<&&str> = ids.iter().filter(|id| !have.contains(**id)).collect();
        if missing.is_empty() || Instant::now() > end {
            break missing.len();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(missing, 0, "rows are missing in the table");
    // The trigger has noted each row when it was first inserted.
    let overtaken = "select count(*) from arrivals a join arrivals b on a.k = b.k and a.at < b.at and a.n > b.n";
    assert_eq!(
        table::number(&kit.file("orders.db"), overtaken).await.unwrap(),
        0,
        "rows out of order per key"
    );
}

/// The target is down for a minute at full load: memory stays in its bounds, a full mesh refuses, the source answers 503,
/// everything arrives afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_down_slows_the_intake_and_loses_nothing() {
    let kit = Kit::new("a_target_that_is_down").unwrap();
    let mesh = Mesh::start(&kit, json!({ "segment_bytes": "64KiB", "retention": { "max_bytes": "2MiB" } }))
        .await
        .unwrap();
    let receiver = Receiver::start().await.unwrap();
    receiver.set(Fault::Status(503));
    let (mut hook, address) = source(&kit, &mesh, json!({ "source": { "response_timeout": "1s" } })).await;
    let mut out = http_sink(&kit, &mesh, &receiver, json!({ "limits": { "memory": "64MiB" } })).await;
    let load = Load {
        padding: 1000,
        batch: 20,
        within: Duration::from_secs(5),
        ..Load::new(address)
    };
    let down = tokio::time::Instant::now();
    let sender = Sender::start(&load, 8000);
    let end = Instant::now() + LONG;
    while sender.refused() < 50 && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(sender.refused() >= 50, "a full mesh never made the source refuse");
    let refused_at_first = sender.refused();
    tokio::time::sleep_until(down + DOWN).await;
    assert!(
        sender.refused() > refused_at_first,
        "the source stopped answering while the target was down"
    );
    for connector in [&mut hook, &mut out] {
        let peak = connector.process().unwrap().peak_memory().unwrap();
        println!("{}: peak {} MiB", connector.name, peak >> 20);
        assert!(peak < 64 << 20, "{} took {peak} bytes", connector.name);
    }
    receiver.set(Fault::None);
    let sending = sender.finish(LONG).await.unwrap();
    receiver.wait_for(sending.confirmed.len(), LONG).await.unwrap();
    let verdict = judge(&sending.confirmed, &sending.open, &receiver.arrived());
    println!("{verdict}; refused {}", sending.refused);
    assert!(verdict.is_clean(), "{verdict}");
}

/// SIGTERM while the target hangs: out in time, code 70, and the next start delivers the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_target_does_not_hold_up_the_shutdown() {
    let kit = Kit::new("a_hanging_target").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    receiver.set(Fault::Stall);
    let (_hook, address) = source(&kit, &mesh, json!({})).await;
    let mut out = http_sink(&kit, &mesh, &receiver, json!({ "delivery": { "shutdown_timeout": "1s" } })).await;
    let sending = Sender::start(&Load::new(address), 200).finish(LONG).await.unwrap();
    out.wait_status("has received", LONG, |status| status["counts"]["received"].as_u64() > Some(0))
        .await
        .unwrap();
    let code = out.process().unwrap().terminate(Duration::from_secs(10)).await.unwrap();
    assert_eq!(code, Some(70), "{}", out.log());
    receiver.set(Fault::None);
    out.run().await.unwrap();
    receiver.wait_for(sending.confirmed.len(), LONG).await.unwrap();
    assert!(judge(&sending.confirmed, &[], &receiver.arrived()).is_clean());
    let code = out.process().unwrap().terminate(Duration::from_secs(10)).await.unwrap();
    assert_eq!(code, Some(0), "{}", out.log());
}

/// One poison event among five hundred: the others arrive, it is a dead letter, and a replay delivers it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_event_stands_alone_and_can_be_replayed() {
    poison("a_poison_event", json!({})).await;
}

/// The same with the dead letters in a topic of the mesh.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_event_can_be_replayed_from_a_topic() {
    poison("a_poison_event_in_a_topic", json!({ "topic": "orders-dead" })).await;
}

async fn poison(test: &str, dead_letter: Value) {
    let kit = Kit::new(test).unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    receiver.set(Fault::Poison(HashSet::from(["k0-250".to_owned()])));
    let (_hook, address) = source(&kit, &mesh, json!({})).await;
    let load = Load {
        keys: 1,
        batch: 500,
        ..Load::new(address)
    };
    let sending = Sender::start(&load, 500).finish(LONG).await.unwrap();
    let out = http_sink(&kit, &mesh, &receiver, json!({ "dead_letter": dead_letter })).await;
    receiver.wait_for(499, LONG).await.unwrap();
    out.wait_status("one dead letter", LONG, |status| status["counts"]["dead_lettered"] == 1)
        .await
        .unwrap();
    let listed = out.command(&["dead-letters", "list", "--output", "json"]).await.unwrap();
    let listed: Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(
        (
            &listed["total"],
            &listed["dead_letters"][0]["id"],
            &listed["dead_letters"][0]["code"]
        ),
        (&json!(1), &json!("k0-250"), &json!("HTTP_400"))
    );
    receiver.set(Fault::None);
    let replayed = out.command(&["dead-letters", "replay", "--all"]).await.unwrap();
    assert_eq!(replayed.code, Some(0), "{}", replayed.text());
    receiver.wait_for(500, LONG).await.unwrap();
    let verdict = judge(&sending.confirmed, &[], &receiver.arrived());
    // The replayed event comes after its successors: nothing else may.
    assert!(
        verdict.missing.is_empty() && verdict.altered.is_empty() && verdict.out_of_order == ["k0-250"],
        "{verdict}"
    );
    let again = out.command(&["dead-letters", "replay", "--all", "--output", "json"]).await.unwrap();
    assert_eq!(again.out.trim(), r#"{"replayed":0}"#);
}

/// A process that is stopped for a while and one that shares a state folder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_one_state_folder_is_refused_by_name() {
    let kit = Kit::new("a_second_process").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let mut out = http_sink(&kit, &mesh, &receiver, json!({})).await;
    let first = out.process().unwrap().id();
    let refused = out.command(&["run", "--set", "admin.listen=127.0.0.1:0"]).await.unwrap();
    assert_eq!(refused.code, Some(69), "{}", refused.text());
    assert!(
        refused.text().contains("OC0202") && refused.text().contains(&format!("process {first}")),
        "{}",
        refused.text()
    );
    out.process().unwrap().signal(Signal::STOP).unwrap();
    out.process().unwrap().signal(Signal::CONT).unwrap();
    assert_eq!(
        out.process().unwrap().terminate(Duration::from_secs(10)).await.unwrap(),
        Some(0),
        "{}",
        out.log()
    );
}
