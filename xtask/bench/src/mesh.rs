//! The mesh: publish, durable log, subscribe and acknowledge, over TCP, with the connectors' own client.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use cloudevents::{AttributesReader, Event, EventBuilder, EventBuilderV10};
use openconnect_core::budget::Budget;
use openconnect_core::config::MeshSettings;
use openconnect_core::mesh::{Publisher, Subscriber};
use openconnect_protocol::wire;
use openconnect_testkit::Result;
use openconnect_testkit::kit::Kit;
use openconnect_testkit::mesh::Mesh;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::load::Target;
use crate::run::{Sample, Schedule, Setup, Times, sample};
use crate::usage::Watched;

/// Of how many deliveries one is read for its latency: reading all would be load of its own.
const LOOKED_AT: u64 = 16;

pub(crate) async fn run(setup: &Setup) -> Result<Sample> {
    let kit = Kit::quiet(&setup.binaries)?;
    let mesh = Mesh::start(&kit, json!({})).await?;
    let mut watched = [Watched::idle("mesh", &mesh.process, mesh.ready_after)];
    let settings: MeshSettings = serde_json::from_value(json!({ "url": mesh.url(), "topic": "bench" }))?;
    let ends = CancellationToken::new();
    let _stop = ends.clone().drop_guard();
    let subscriber = Subscriber::connect(&settings, "bench", Budget::with_bytes(16 << 20), ends.clone()).await?;
    let received = Arc::new(AtomicU64::new(0));
    let schedule = setup.offered.map(Schedule::new);
    let times = Arc::new(Mutex::new(Times::new(Instant::now() + setup.warm_up)?));
    let _receiving = AbortOnDropHandle::new(receive(subscriber, Arc::clone(&received), schedule, Arc::clone(&times)));
    let publisher = Publisher::connect(&settings, "bench", ends.clone()).await?;
    let target = Some(Target::new(setup, {
        let received = Arc::clone(&received);
        move || received.load(Ordering::Relaxed)
    }));
    let _publishing = AbortOnDropHandle::new(publish(publisher, setup.clone(), schedule, u64::MAX, target));
    let mut sample = sample(setup, &mut watched, async || Ok(received.load(Ordering::Relaxed))).await?;
    sample.latency = schedule.map(|_| times.lock().unwrap_or_else(PoisonError::into_inner).latency());
    Ok(sample)
}

fn receive(mut subscriber: Subscriber, received: Arc<AtomicU64>, schedule: Option<Schedule>, times: Arc<Mutex<Times>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut deliveries = Vec::new();
        while subscriber.recv(&mut deliveries, 1024).await.is_ok() {
            let before = received.fetch_add(deliveries.len() as u64, Ordering::Relaxed);
            for (at, delivery) in deliveries.drain(..).enumerate() {
                if let Some(schedule) = schedule
                    && (before + at as u64).is_multiple_of(LOOKED_AT)
                    && let Ok(number) = wire::decode(&delivery.raw)
                        .map_err(drop)
                        .and_then(|event| event.id().parse().map_err(drop))
                {
                    times.lock().unwrap_or_else(PoisonError::into_inner).record(schedule.due(number));
                }
                delivery.ack.ack();
            }
        }
    })
}

/// Publishes events with the numbers from 0 on. Confirmations are bounded by the client's window; what counts is what arrives.
pub(crate) fn publish(
    publisher: Publisher,
    setup: Setup,
    schedule: Option<Schedule>,
    events: u64,
    target: Option<Target>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let data = setup.data();
        let mut last = None;
        for number in 0..events {
            if let Some(schedule) = schedule
                && let Some(early) = schedule.due(number).checked_duration_since(Instant::now())
            {
                tokio::time::sleep(early).await;
            }
            if let Some(target) = &target {
                target.keeps_up(|| number).await;
            }
            let key = setup.key(number);
            let Ok(event) = event(number, key.as_deref(), &data) else { return };
            last = Some(publisher.send("bench", key.as_deref(), &event).await);
        }
        if let Some(last) = last {
            // The confirmations come in order.
            let _ = last.await;
        }
    })
}

pub(crate) fn event(number: u64, key: Option<&str>, data: &str) -> Result<Event> {
    let mut event = EventBuilderV10::new().id(number.to_string()).source("/bench").ty("bench");
    if let Some(key) = key {
        event = event.extension("partitionkey", key);
    }
    Ok(event.data("application/json", data.to_owned()).build()?)
}

/// A mesh that has `events` events already.
pub(crate) async fn filled(kit: &Kit, setup: &Setup, events: u64) -> Result<Mesh> {
    let mesh = Mesh::start(kit, json!({})).await?;
    let settings: MeshSettings = serde_json::from_value(json!({ "url": mesh.url(), "topic": "bench" }))?;
    let publisher = Publisher::connect(&settings, "bench", CancellationToken::new()).await?;
    publish(publisher, setup.clone(), None, events, None).await?;
    Ok(mesh)
}
