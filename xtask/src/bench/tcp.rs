//! Publish, durable mesh, subscribe and acknowledge, over TCP, with the connectors' own client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cloudevents::{EventBuilder, EventBuilderV10};
use openconnect_core::config::MeshSettings;
use openconnect_core::mesh::{Publisher, Subscriber};
use openconnect_testkit::Result;
use openconnect_testkit::kit::Kit;
use openconnect_testkit::mesh::Mesh;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{data, rate, show_process, show_rate};

const TARGET: f64 = 150_000.0;

pub(crate) async fn run(kit: &Kit) -> Result<()> {
    let mesh = Mesh::start(kit, json!({})).await?;
    let idle = mesh.process.memory();
    let settings: MeshSettings = serde_json::from_value(json!({ "url": mesh.url(), "topic": "bench" }))?;
    let ends = CancellationToken::new();
    let stop = ends.clone().drop_guard();
    let mut subscriber = Subscriber::connect(&settings, "bench", 16 << 20, ends.clone()).await?;
    let publisher = Publisher::connect(&settings, "bench", ends.clone()).await?;
    let received = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&received);
    let receiving = tokio::spawn(async move {
        let mut deliveries = Vec::new();
        while subscriber.recv(&mut deliveries, 1024).await.is_ok() {
            counter.fetch_add(deliveries.len(), Ordering::Relaxed);
            for delivery in deliveries.drain(..) {
                delivery.ack.ack();
            }
        }
    });
    let text = data();
    let publishing = tokio::spawn(async move {
        for number in 0_u64.. {
            let event = EventBuilderV10::new()
                .id(number.to_string())
                .source("/bench")
                .ty("bench")
                .data("application/json", text.clone())
                .build();
            let Ok(event) = event else { return };
            if ends.is_cancelled() {
                return;
            }
            // Confirmations are bounded by the window; what counts is what arrives.
            drop(publisher.send("bench", None, &event).await);
        }
    });
    let rate = rate(|| received.load(Ordering::Relaxed)).await;
    show_rate("TCP publish, mesh, subscribe", rate, TARGET);
    show_process("mesh", &mesh.process, Some(mesh.ready_after), idle);
    drop(stop);
    publishing.abort();
    receiving.abort();
    Ok(())
}
