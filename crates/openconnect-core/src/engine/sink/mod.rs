//! Runs a sink: opens what it needs, feeds its worker, and closes it again.
//!
//! | file | what is in it |
//! |---|---|
//! | `feeder.rs`, `intake.rs` | events from the mesh, the inbox and the replay, decoded, transformed and budgeted |
//! | `scheduler.rs` | which events may be written now, by ordering |
//! | `worker.rs` | batches, writes, retries, outcomes |

use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::State;
use crate::budget::Budget;
use crate::config::{Acknowledge, Settings};
use crate::dead_letter::{DeadLetters, ReplayQueue};
use crate::engine::circuit::Circuit;
use crate::engine::retry::RetryPolicy;
use crate::engine::{App, deadline, group, guarantee};
use crate::error::{Exit, Result};
use crate::inbox::{Inbox, Stored};
use crate::mesh::{Publisher, Subscriber};
use crate::sink::{Ordering, Sink, SinkContext, SinkDefaults};
use crate::state::StateDir;
use crate::transform::Transforms;
use feeder::Feeder;
use intake::{Decoder, Preparer};
use scheduler::{BatchLimits, Scheduler};

mod feeder;
pub(super) mod intake;
mod scheduler;
mod worker;

/// A sink's numbers, from its defaults and the configuration.
pub(super) fn resolve_defaults<S: Sink>(settings: &Settings, config: &S::Config) -> SinkDefaults {
    let (own, delivery) = (S::defaults(config), &settings.delivery);
    SinkDefaults {
        batch_events: delivery.batch.max_events.unwrap_or(own.batch_events).max(1),
        batch_bytes: delivery
            .batch
            .max_bytes
            .map_or(own.batch_bytes, crate::bytes_size::ByteSize::as_usize)
            .max(1),
        batch_age: delivery.batch.max_age.map_or(own.batch_age, |age| age.0),
        in_flight: delivery.in_flight.unwrap_or(own.in_flight).max(1),
        ordering: delivery.ordering.unwrap_or(own.ordering),
        idempotent: own.idempotent,
    }
}

/// Runs a sink until it is stopped or can't go on. Everything that the mesh has been told is safe is then in the target, in
/// the dead letters or in the inbox.
pub async fn run_sink<S: Sink>(app: App<S::Config>) -> Result<Exit> {
    let App {
        settings,
        config,
        status,
        shutdown,
        ..
    } = app;
    let transforms = Transforms::compile(&settings.transforms, settings.delivery.key.as_deref())?;
    let defaults = resolve_defaults::<S>(&settings, &config);
    let state = StateDir::open(&settings, S::NAME)?;
    let budget = Budget::new(&settings.limits);
    let mesh_ends = CancellationToken::new();
    let _mesh_guard = mesh_ends.clone().drop_guard();
    let connected = tokio::select! {
        connected = Subscriber::connect(&settings.mesh, group(&settings), budget.total() / 4, mesh_ends.clone()) => connected,
        () = shutdown.cancelled() => return Ok(Exit::Clean),
    };
    let subscriber = connected?;
    let capabilities = subscriber.capabilities();
    let acknowledge = guarantee::acknowledge(settings.delivery.acknowledge, &capabilities);
    let computed = guarantee::of_sink(acknowledge, &capabilities, defaults.idempotent);
    guarantee::enforce(&computed, settings.delivery.require)?;
    status.set_server(capabilities.clone());
    status.set_guarantee(computed.guarantee);
    let publisher = match &settings.dead_letter.topic {
        Some(_) => Some(Publisher::connect(&settings.mesh, group(&settings), mesh_ends.clone()).await?),
        None => None,
    };
    let dead_letters = Arc::new(DeadLetters::open(&settings.dead_letter, state.path(), S::NAME, publisher.clone()).await?);
    let context = SinkContext {
        name: settings.name.clone(),
        batch_events: defaults.batch_events,
        in_flight: defaults.in_flight,
        ordering: defaults.ordering,
    };
    let sink = Arc::new(S::open(config, context).await?);
    tracing::info!(
        connector = S::NAME,
        name = settings.name,
        guarantee = computed.guarantee.as_str(),
        server = capabilities.server,
        topic = settings.mesh.topic,
        "running: {}",
        computed.because
    );
    let decoder = Decoder {
        max_event_bytes: settings.limits.max_event_bytes.as_usize(),
    };
    // What an earlier run left in the inbox is delivered whatever this one acknowledges by.
    let (inbox, stored) = match acknowledge {
        Acknowledge::Write if !state.path().join("inbox").exists() => (None, None),
        _ => {
            let decode = move |stored: &Stored<'_>| (decoder.read(stored), stored.raw.len());
            let (inbox, entries) = Inbox::open(state.path(), settings.state.inbox_max.0, decode)?;
            (Some(inbox), Some(entries))
        }
    };
    let preparer = Arc::new(Preparer {
        transforms,
        budget: budget.clone(),
        decoder,
        hasher: RandomState::new(),
    });
    let (to_worker, entries) = mpsc::channel(8);
    let (fatal, mut failures) = mpsc::channel(2);
    let appender = (acknowledge == Acknowledge::Inbox)
        .then(|| inbox.as_ref().map(Inbox::appender))
        .flatten();
    let feeder = Feeder {
        preparer,
        to: to_worker,
        fatal,
        shutdown: shutdown.clone(),
    };
    let receiving = AbortOnDropHandle::new(tokio::spawn(feeder.clone().receive(subscriber, appender)));
    let reading = stored.map(|stored| AbortOnDropHandle::new(tokio::spawn(feeder.clone().read(stored))));
    let replay = ReplayQueue::open(state.path())?;
    let replaying = AbortOnDropHandle::new(tokio::spawn(feeder.replay(replay.clone())));
    status.set_state(State::Running);
    let worker = worker::SinkWorker {
        scheduler: Scheduler::new(
            defaults.ordering,
            sink.atomic(),
            BatchLimits {
                events: defaults.batch_events,
                bytes: defaults.batch_bytes,
                age: defaults.batch_age,
            },
        ),
        sink: Arc::clone(&sink),
        retry: RetryPolicy::new(&settings.delivery.retry),
        circuit: Circuit::new(&settings.delivery.circuit),
        in_flight: if defaults.ordering == Ordering::Total {
            1
        } else {
            defaults.in_flight
        },
        pace: settings
            .delivery
            .rate_limit
            .filter(|rate| *rate > 0)
            .map(|rate| Duration::from_secs(1) / rate),
        dead_letters,
        replay,
        inbox,
        status: status.clone(),
        shutdown,
        deadline: deadline(&settings.delivery),
        budget,
    };
    let exit = worker.run(entries, &mut failures).await;
    drop((reading, replaying));
    // The subscriber flushes the acknowledgements and says goodbye; bounded by its request timeout.
    if let Ok(Some(subscriber)) = receiving.await {
        subscriber.close().await;
    }
    if let Some(publisher) = publisher {
        publisher.close().await;
    }
    if let Some(sink) = Arc::into_inner(sink) {
        sink.close().await?;
    }
    status.set_state(State::Stopped);
    exit
}
