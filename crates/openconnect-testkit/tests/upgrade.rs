//! State that each released version has written is read by this one. `fixtures/state/<version>` has it; a release adds its own:
//! `OPENCONNECT_WRITE_STATE=<version> cargo test -p openconnect-testkit --test upgrade`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openconnect_sql_fixtures::table;
use openconnect_testkit::connector::Connector;
use openconnect_testkit::kit::Kit;
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::process::until;
use openconnect_testkit::receiver::{Fault, Receiver};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(30);
const NAMES: [&str; 2] = ["out", "in"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/state")
}

fn versions() -> Vec<PathBuf> {
    let mut versions: Vec<PathBuf> = fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path()).collect();
    versions.sort();
    versions
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else if name != "lock" {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

fn sink(kit: &Kit, mesh: &Mesh, receiver: &Receiver) -> Connector {
    let settings = json!({
        "mesh": { "url": mesh.url(), "topic": "orders" }, "sink": { "url": receiver.url() },
        "delivery": { "acknowledge": "inbox", "retry": { "initial": "20ms", "max": "200ms" } },
    });
    Connector::prepare(kit, "openconnect-http-sink", NAMES[0], settings).unwrap()
}

/// A table with rows 1 to 5 and a source that reads it.
async fn source(kit: &Kit, mesh: &Mesh, rows: u32) -> Connector {
    let file = kit.file("rows.db");
    let values: Vec<String> = (1..=rows).map(|id| format!("({id})")).collect();
    let sql = format!(
        "create table orders (id integer primary key); insert into orders values {}",
        values.join(", ")
    );
    table::execute(&file, &sql).await.unwrap();
    let settings = json!({
        "mesh": { "url": mesh.url(), "topic": "orders" },
        "source": { "url": format!("sqlite://{}", file.display()), "tables": ["orders"], "mode": "incrementing", "incrementing": "id", "lag": "0s" },
        "state": { "flush_interval": "20ms" },
    });
    Connector::prepare(kit, "openconnect-jdbc-source", NAMES[1], settings).unwrap()
}

/// Three events in a sink's inbox, and a source's offset behind its third row.
async fn write(version: &str) {
    let kit = Kit::new("write_state").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    receiver.set(Fault::Status(503));
    let mut sink = sink(&kit, &mesh, &receiver);
    sink.run().await.unwrap();
    let mut source = source(&kit, &mesh, 3).await;
    source.run().await.unwrap();
    sink.wait_status("three events in the inbox", LONG, |status| status["backlog"] == 3)
        .await
        .unwrap();
    for connector in [&mut source, &mut sink] {
        connector.process().unwrap().terminate(LONG).await.unwrap();
        copy(&connector.state, &fixtures().join(version).join(&connector.name));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbox_and_an_offset_of_every_version_are_read() {
    if let Ok(version) = std::env::var("OPENCONNECT_WRITE_STATE") {
        write(&version).await;
    }
    assert!(!versions().is_empty());
    for version in versions() {
        let kit = Kit::new("upgrade").unwrap();
        let mesh = Mesh::start(&kit, json!({})).await.unwrap();
        let receiver = Receiver::start().await.unwrap();
        let mut sink = sink(&kit, &mesh, &receiver);
        let mut source = source(&kit, &mesh, 5).await;
        for connector in [&sink, &source] {
            copy(&version.join(&connector.name), &connector.state);
        }
        sink.run().await.unwrap();
        source.run().await.unwrap();
        let arrived = || async { Some(receiver.arrived()).filter(|arrived| arrived.len() >= 5) };
        let arrived = until("five events", LONG, arrived)
            .await
            .unwrap_or_else(|e| panic!("{}: {e}: {:?}", version.display(), receiver.arrived()));
        let mut ids: Vec<&str> = arrived.iter().map(|event| event.id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["1", "2", "3", "4", "5"], "{}", version.display());
        for connector in [&mut source, &mut sink] {
            assert_eq!(
                connector.process().unwrap().terminate(LONG).await.unwrap(),
                Some(0),
                "{}",
                version.display()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_of_a_newer_format_is_refused_and_left_alone() {
    let kit = Kit::new("newer_state").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let sink = sink(&kit, &mesh, &receiver);
    copy(&versions()[0].join(NAMES[0]), &sink.state);
    let file = fs::read_dir(&sink.state).unwrap().map(|entry| entry.unwrap().path());
    let file = file
        .into_iter()
        .find(|path| path.extension().is_some_and(|ending| ending == "json"))
        .unwrap();
    let mut instance: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    instance["format"] = json!(99);
    fs::write(&file, instance.to_string()).unwrap();
    let refused = sink.finish().await.unwrap();
    assert!(
        refused.text().contains("OC0204") && refused.text().contains("newer binary"),
        "{}",
        refused.text()
    );
    let after: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(after, instance);
}
