//! Runs a staging sink: events wait in the inbox until their group is visible.
//!
//! | file | what is in it |
//! |---|---|
//! | `groups.rs` | which generation an event belongs to, and when each ends; pure |
//! | `entries.rs` | the entries of a generation, mostly on disk |
//! | `generation.rs` | one generation in the worker |
//! | `records.rs` | seal records and handles, on disk |
//! | `feed.rs` | from the mesh to the inbox, from the inbox to the worker |
//! | `worker/` | the one task that owns it all |
//! | `sealing.rs` | the tasks that end a generation |
//!
//! What is durable, and in which order: an event, in the inbox, before the mesh is told; the record of a seal, before `seal`; the
//! checkpoint that resolves its entries, before the record goes. So a crash at any place leaves, for each event, either its entry
//! without a record (it is staged again, nothing of it is visible) or a record (the target is asked).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::circuit::Circuit;
use super::intake::{Decoder, IntakeEnds};
use super::retry::RetryPolicy;
use super::{App, announce_sink, deadline, exit_of_drain, guarantee, open_dead_letters, subscribe};
use crate::admin::State;
use crate::budget::Budget;
use crate::codes;
use crate::config::Settings;
use crate::dead_letter::ReplayQueue;
use crate::error::{Exit, Result};
use crate::inbox::{Inbox, InboxOptions};
use crate::sink::Ordering;
use crate::staging::{AtShutdown, StagingContext, StagingProfile, StagingSink};
use crate::state::StateDir;
use crate::transform::Transforms;
use feed::{Feeder, Preparer};
use records::{Chain, Records};
use worker::{Worker, WorkerParts};

mod entries;
mod feed;
mod generation;
mod groups;
mod records;
mod sealing;
#[cfg(test)]
mod simulation;
mod worker;

/// How long a start waits for the target to discard one thing.
const DISCARD: Duration = Duration::from_secs(10);

/// A staging sink's profile, with what the configuration says over it. One batch takes at most half of the budget.
fn profile<S: StagingSink>(settings: &Settings, config: &S::Config, budget: &Budget) -> StagingProfile {
    let (own, delivery) = (S::profile(config), &settings.delivery);
    let bytes = delivery
        .batch
        .max_bytes
        .map_or(own.batch_bytes, crate::bytes_size::ByteSize::as_usize);
    StagingProfile {
        batch_events: delivery.batch.max_events.unwrap_or(own.batch_events).max(1),
        batch_bytes: bytes.clamp(1, budget.largest()),
        in_flight: delivery.in_flight.unwrap_or(own.in_flight).max(1),
        ..own
    }
}

/// Runs a staging sink until it is stopped or can't go on. Everything that the mesh has been told is safe is then visible in the
/// target, in the dead letters, or in the inbox.
pub async fn run_staging_sink<S: StagingSink>(app: App<S::Config>) -> Result<Exit> {
    let App {
        settings,
        config,
        status,
        shutdown,
        drain,
        ..
    } = app;
    let transforms = Arc::new(Transforms::compile(&settings.transforms, Some(&settings.delivery.key))?);
    let state = StateDir::open(&settings, S::NAME)?;
    let budget = Budget::new(&settings.limits);
    let limit = budget.event_limit(&settings.limits);
    let [received, waiting, reread] = budget.divide([1, 2, 1]);
    status.watch_budget([received.clone(), waiting.clone(), reread.clone()]);
    let mut profile = profile::<S>(&settings, &config, &waiting);
    if drain {
        profile.at_shutdown = AtShutdown::Seal;
    }
    let mesh_ends = CancellationToken::new();
    let _mesh_guard = mesh_ends.clone().drop_guard();
    let subscriber = if drain {
        None
    } else {
        let Some(subscriber) = subscribe(&settings, received, &mesh_ends, &shutdown).await? else {
            return Ok(Exit::Clean);
        };
        let mesh = subscriber.capabilities();
        let computed = guarantee::of_staging_sink(&mesh, profile.repeats);
        announce_sink(S::NAME, &settings, &computed, mesh, &status)?;
        Some(subscriber)
    };
    let (dead_letters, publisher) = open_dead_letters(&settings, &state, S::NAME, &mesh_ends).await?;
    let context = StagingContext {
        name: settings.name.clone(),
        batch_events: profile.batch_events,
        in_flight: profile.in_flight,
    };
    let sink = Arc::new(S::open(config, context).await?);
    let (records, recovered) = Records::open(state.path())?;
    let records = Arc::new(records);
    for (token, handle) in recovered.handles {
        openconnect_fault::reach(openconnect_fault::Failpoint::BeforeDiscard);
        if tokio::time::timeout(DISCARD, sink.discard(&handle)).await.is_err() {
            tracing::warn!(
                handle = handle.as_str(),
                "the target did not discard this within {DISCARD:?}; remove it by hand"
            );
        }
        openconnect_fault::reach(openconnect_fault::Failpoint::Discarded);
        records.forget_handle(&token).map_err(|failure| {
            crate::Error::unavailable(codes::STAGING_FOLDER, "the name of a discarded handle can't be removed").because(failure)
        })?;
    }
    let decode = feed::decode(Decoder { limit });
    let options = InboxOptions {
        max_bytes: settings.state.inbox_max.0,
        staging: true,
        apart: sequences(&recovered.chains),
        drain,
        ..InboxOptions::default()
    };
    let (inbox, stored) = Inbox::open(state.path(), &options, waiting, decode.clone())?;
    let (to_worker, entries) = mpsc::channel(8);
    let (fatal, mut failures) = mpsc::channel(2);
    let feeder = Feeder {
        ends: IntakeEnds {
            fatal,
            shutdown: shutdown.clone(),
        },
    };
    let preparer = Preparer { transforms };
    let receiving = subscriber.map(|subscriber| AbortOnDropHandle::new(tokio::spawn(feeder.clone().receive(subscriber, inbox.appender()))));
    let reading = AbortOnDropHandle::new(tokio::spawn(feeder.clone().read(stored, preparer.clone(), to_worker)));
    let replay = ReplayQueue::open(state.path())?;
    let replaying = (!drain).then(|| AbortOnDropHandle::new(tokio::spawn(feeder.replay(replay.clone(), inbox.appender()))));
    status.set_state(State::Running);
    let worker = Worker::new(WorkerParts {
        sink: Arc::clone(&sink),
        profile,
        total: settings.delivery.ordering == Some(Ordering::Total),
        retry: RetryPolicy::new(&settings.delivery.retry),
        circuit: Circuit::new(&settings.delivery.circuit),
        dead_letters,
        inbox,
        records,
        chains: recovered.chains,
        reread: Box::new(move |inbox, ranges| inbox.reread(ranges, reread.clone(), decode.clone())),
        preparer,
        status: status.clone(),
        shutdown,
        deadline: deadline(&settings.delivery),
    });
    let exit = worker.run(entries, &mut failures).await;
    drop((reading, replaying));
    // The subscriber flushes the acknowledgements and says goodbye; bounded by its request timeout.
    if let Some(receiving) = receiving
        && let Ok(subscriber) = receiving.await
    {
        subscriber.close().await;
    }
    if let Some(publisher) = publisher {
        publisher.close().await;
    }
    if let Some(sink) = Arc::into_inner(sink) {
        sink.close().await?;
    }
    status.set_state(State::Stopped);
    let exit = exit?;
    Ok(if drain { exit_of_drain(exit, &replay) } else { exit })
}

/// The entries that records name, as ascending ranges.
fn sequences(chains: &[Chain]) -> Vec<(u64, u64)> {
    let records = chains.iter().flat_map(|chain| &chain.records);
    let mut ranges: Vec<(u64, u64)> = records.flat_map(|record| record.entries.iter().copied()).collect();
    ranges.sort_unstable();
    ranges
}
