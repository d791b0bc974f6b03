//! A canary in place of every secret: it must not show in anything that the binaries print, serve or store for others.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use openconnect_sql_fixtures::{System, database};
use openconnect_testkit::connector::Connector;
use openconnect_testkit::http::{self, Client};
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::receiver::{Fault, Receiver};
use serde_json::{Value, json};
use url::Url;

const CANARY: &str = "c4n4ry-7f3a91";

fn silent(what: &str, text: &str) {
    if let Some(at) = text.find(CANARY) {
        let start = text[..at].char_indices().rev().nth(120).map_or(0, |(at, _)| at);
        panic!("{what} shows a secret: …{}", &text[start..at]);
    }
}

async fn look(connector: &mut Connector) {
    for path in ["/status", "/metrics", "/readyz", "/livez"] {
        silent(path, &http::get(connector.admin, path).await.unwrap().text());
    }
    for arguments in [
        &["config", "show"][..],
        &["check"],
        &["check", "--connect"],
        &["config", "schema"],
        &["dead-letters", "list"],
    ] {
        let finished = connector.command(arguments).await.unwrap();
        assert!(!finished.text().is_empty(), "{arguments:?} printed nothing");
        silent(&arguments.join(" "), &finished.text());
    }
    connector.process().unwrap().terminate(Duration::from_secs(10)).await.unwrap();
    assert!(!connector.log().is_empty());
    silent("the log", &connector.log());
}

fn prepare(kit: &Kit, binary: &str, name: &str, settings: Value) -> Connector {
    let mut connector = Connector::prepare(kit, binary, name, settings).unwrap();
    connector.program.environment = vec![("RUST_LOG".to_owned(), "trace".to_owned())];
    connector
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_shows() {
    let kit = Kit::new("secrets").unwrap();
    let mesh = Mesh::start(&kit, json!({ "users": { "user": CANARY } })).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    receiver.set(Fault::Status(401));
    let address = free_address().unwrap();
    let to_mesh = |url: String| json!({ "url": url, "topic": "orders", "username": "user", "password": CANARY, "token": CANARY, "reconnect_max": "200ms" });
    let mut hook = prepare(
        &kit,
        "openconnect-http-source",
        "hook",
        json!({
            "mesh": to_mesh(mesh.grpc_url()),
            "source": { "listen": address, "auth": { "type": "bearer", "token": CANARY } },
        }),
    );
    hook.run().await.unwrap();
    let mut client = Client::new(address, Duration::from_secs(10));
    let headers = |token: &str| {
        [
            ("content-type", "application/json".to_owned()),
            ("authorization", format!("Bearer {token}")),
        ]
    };
    for (token, code) in [(CANARY, 202), ("wrong", 401)] {
        let headers = headers(token);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = client
            .send("POST".parse().unwrap(), "/", &headers, "{\"a\":1}".into())
            .await
            .unwrap();
        assert_eq!(answer.status.as_u16(), code, "{}", answer.text());
        silent("an answer", &answer.text());
    }
    let mut out = prepare(
        &kit,
        "openconnect-http-sink",
        "out",
        json!({
            "mesh": to_mesh(mesh.url()),
            "sink": { "url": receiver.url(), "auth": { "type": "basic", "username": "user", "password": CANARY } },
            "delivery": { "retry": { "max": "200ms" } },
        }),
    );
    out.run().await.unwrap();
    out.wait_status("has received", Duration::from_secs(20), |status| {
        status["counts"]["received"].as_u64() > Some(0)
    })
    .await
    .unwrap();
    // What the core itself makes of an event: a dead letter, with the reason that the target gave.
    receiver.set(Fault::Status(400));
    out.wait_status("a dead letter", Duration::from_secs(60), |status| {
        status["counts"]["dead_lettered"] == 1
    })
    .await
    .unwrap();
    let letters = std::fs::read_to_string(out.state.join("dead-letters.jsonl")).unwrap();
    assert!(letters.contains("dlqreason"), "{letters}");
    silent("a dead letter", &letters);
    let mut sql = prepare(
        &kit,
        "openconnect-jdbc-sink",
        "sql",
        json!({
            "mesh": to_mesh(mesh.grpc_url()),
            "sink": { "url": format!("sqlite://{}", kit.file("t.db").display()), "create": true, "table": "missing", "columns": { "id": "id" } },
        }),
    );
    sql.run().await.unwrap();
    let mut all = vec![hook, out, sql];
    // A wrong password, so that the server's refusal is told too.
    let postgres = database(System::Postgres).await.unwrap();
    if let Some(database) = &postgres {
        let mut url = Url::parse(&database.url).unwrap();
        url.set_password(Some(CANARY)).unwrap();
        let source = json!({ "url": url.as_str(), "tables": ["orders"], "mode": "bulk" });
        let sink = json!({ "url": format!("jdbc:{url}"), "user": "openconnect", "password": CANARY, "table": "orders" });
        for (binary, settings) in [
            ("openconnect-jdbc-source", json!({ "source": source })),
            ("openconnect-jdbc-sink", json!({ "sink": sink })),
        ] {
            let mut settings = settings;
            settings["mesh"] = to_mesh(mesh.url());
            let mut connector = prepare(&kit, binary, binary, settings);
            connector.launch().unwrap();
            connector.wait_status("an answer", Duration::from_secs(20), |_| true).await.unwrap();
            all.push(connector);
        }
    }
    let mysql = database(System::MySql).await.unwrap();
    if let Some(database) = &mysql {
        let mut url = Url::parse(&database.url).unwrap();
        url.set_password(Some(CANARY)).unwrap();
        let settings = json!({ "mesh": to_mesh(mesh.url()), "source": { "url": url.as_str(), "tables": ["orders"] } });
        let mut connector = prepare(&kit, "openconnect-mysql-cdc-source", "cdc", settings);
        connector.launch().unwrap();
        connector.wait_status("an answer", Duration::from_secs(20), |_| true).await.unwrap();
        all.push(connector);
    }
    for connector in &mut all {
        look(connector).await;
    }
    silent("the mesh's log", &mesh.process.log());
    let mut stored = 0;
    for entry in std::fs::read_dir(mesh.data.join("topics/orders")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            stored += bytes.len();
            silent(&path.display().to_string(), &String::from_utf8_lossy(&bytes));
        }
    }
    assert!(stored > 0, "the mesh stored nothing");
}
