//! The client of the mesh through its public face, against servers that misbehave in every way that EventMesh 1.x or a
//! network can.
//!
//! | file | what is in it |
//! |---|---|
//! | `server.rs` | a scripted TCP server: the test says what it answers |
//! | `simulated.rs` | EventMesh 1.x on its standalone storage, with its limits |
//! | `grpc_server.rs` | a scripted gRPC server |
//! | `publish.rs`, `subscribe.rs` | faults over TCP |
//! | `grpc.rs` | faults over gRPC |
//! | `eventmesh.rs` | what every server must do; also against a real EventMesh |
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unreachable_pub)]

mod eventmesh;
mod grpc;
mod grpc_server;
mod publish;
mod server;
mod simulated;
mod subscribe;

use std::time::Duration;

use cloudevents::{Event, EventBuilder, EventBuilderV10};
use openconnect_core::Failure;
use openconnect_core::budget::Budget;
use openconnect_core::config::MeshSettings;
use openconnect_core::mesh::{MeshStatus, Published, Publisher, Subscriber};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Nothing takes longer than this, however busy the machine is.
pub const WAIT: Duration = Duration::from_secs(30);

pub async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT, wait)
        .await
        .unwrap_or_else(|_| panic!("not within {WAIT:?}: {what}"))
}

/// Settings that wait long for everything, so that only the fault of the test counts; `over` changes some.
pub fn settings(url: &str, over: serde_json::Value) -> MeshSettings {
    let mut settings = json!({
        "url": url, "topic": "t", "heartbeat": "60s", "request_timeout": "25s", "reconnect_max": "200ms",
    });
    for (name, value) in over.as_object().unwrap() {
        settings[name] = value.clone();
    }
    serde_json::from_value(settings).unwrap()
}

pub async fn publisher(url: &str, over: serde_json::Value) -> openconnect_core::Result<Publisher> {
    Publisher::connect(&settings(url, over), "g", CancellationToken::new()).await
}

pub async fn subscriber(url: &str, over: serde_json::Value) -> openconnect_core::Result<Subscriber> {
    Subscriber::connect(&settings(url, over), "g", Budget::with_bytes(64 << 20), CancellationToken::new()).await
}

pub fn event(id: &str) -> Event {
    EventBuilderV10::new()
        .id(id)
        .source("/test")
        .ty("t")
        .data("application/json", json!({"n": 1}))
        .build()
        .unwrap()
}

pub async fn send(publisher: &Publisher, id: &str) -> Published {
    publisher.send("t", Some("key"), &event(id)).await
}

pub async fn confirmed(published: Published) {
    assert_eq!(within("a confirmation", published).await, Ok(()));
}

pub async fn refused(published: Published) -> Failure {
    within("an outcome", published).await.unwrap_err()
}

/// Waits until the status is as wanted.
pub async fn status(mut seen: watch::Receiver<MeshStatus>, wanted: impl Fn(&MeshStatus) -> bool) -> MeshStatus {
    let last = within("a status", seen.wait_for(|status| wanted(status))).await.unwrap();
    last.clone()
}
