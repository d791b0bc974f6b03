//! The files in `examples/` run as they are: only addresses and places differ.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hyper::Method;
use openconnect_sql_fixtures::table;
use openconnect_testkit::connector::Connector;
use openconnect_testkit::http::Client;
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::process::until;
use openconnect_testkit::receiver::Receiver;
use serde_json::json;

const WAIT: Duration = Duration::from_secs(20);
const SECRET: &str = "of the webhook";

async fn run(kit: &Kit, mesh: &Mesh, binary: &str, name: &str, set: &str) -> Connector {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../examples/{name}.yaml"));
    let set = [format!("mesh.url={}", mesh.url()), set.to_owned()];
    let mut connector = Connector::from_file(kit, binary, name, file, &set).unwrap();
    connector.program.environment = vec![("GITHUB_WEBHOOK_SECRET".to_owned(), SECRET.to_owned())];
    connector.run().await.unwrap();
    connector
}

fn client(address: SocketAddr) -> Client {
    Client::new(address, WAIT)
}

/// The rows, once there is one.
async fn rows(file: &Path, sql: &str) -> Vec<Vec<String>> {
    until("a row", WAIT, || async {
        table::query(file, sql).await.ok().filter(|rows| !rows.is_empty())
    })
    .await
    .unwrap()
}

/// The pipeline of the README.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_becomes_a_row() {
    let kit = Kit::new("examples").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let (address, file) = (free_address().unwrap(), kit.file("orders.db"));
    let _webhook = run(
        &kit,
        &mesh,
        "openconnect-http-source",
        "webhook",
        &format!("source.listen={address}"),
    )
    .await;
    let place = format!("sink.url=sqlite:{}", file.display());
    let _orders = run(&kit, &mesh, "openconnect-jdbc-sink", "orders", &place).await;
    let answer = client(address)
        .post("/", "application/json", r#"{"id": "A-1", "total": 12.5}"#)
        .await
        .unwrap();
    assert!(answer.status.is_success(), "{}", answer.text());
    let rows = rows(&file, "select id, cast(total as text) from orders").await;
    assert_eq!(rows, [["A-1", "12.5"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_of_github_goes_to_an_endpoint_and_into_a_table() {
    let kit = Kit::new("examples").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let (address, file) = (free_address().unwrap(), kit.file("github.db"));
    let _github = run(
        &kit,
        &mesh,
        "openconnect-http-source",
        "github",
        &format!("source.listen={address}"),
    )
    .await;
    let endpoint = format!("sink.url={}", receiver.url());
    let _endpoint = run(&kit, &mesh, "openconnect-http-sink", "github-endpoint", &endpoint).await;
    let place = format!("sink.url=sqlite:{}", file.display());
    let _table = run(&kit, &mesh, "openconnect-jdbc-sink", "github-table", &place).await;
    let body = r#"{"ref":"refs/heads/main","repository":{"full_name":"apache/eventmesh"}}"#;
    for (signed, status) in [("another body", 401), (body, 202)] {
        let signature = signature(signed);
        let headers = [
            ("content-type", "application/json"),
            ("x-github-event", "push"),
            ("x-github-delivery", "d-1"),
            ("x-hub-signature-256", &signature),
        ];
        let answer = client(address).send(Method::POST, "/", &headers, body.into()).await.unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    receiver.wait_for(1, WAIT).await.unwrap();
    let rows = rows(&file, "select id, type, body from deliveries").await;
    assert_eq!(rows, [["d-1", "com.github.push", body]]);
}

fn signature(body: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let digest = ring::hmac::sign(&key, body.as_bytes());
    let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}
