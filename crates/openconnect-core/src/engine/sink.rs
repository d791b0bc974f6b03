//! Runs a sink: opens what it needs, delivers what comes in, and closes it again.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio_util::sync::CancellationToken;

use super::delivery::rates::{self, RateLimits};
use super::delivery::{BatchLimits, DeliveryRules, DeliveryState, DeliveryWorker, Outcomes, Standing, Tasks};
use super::intake::{Intake, IntakeParts};
use crate::admin::State;
use crate::budget::Budget;
use crate::codes;
use crate::config::{Acknowledge, RateLimitSetting, Settings};
use crate::engine::circuit::Circuit;
use crate::engine::retry::RetryPolicy;
use crate::engine::{App, announce_sink, deadline, exit_of_drain, exit_of_sink, guarantee, open_dead_letters, subscribe};
use crate::error::{Error, Exit, Result};
use crate::failure::Failure;
use crate::sink::{Sink, SinkContext, SinkProfile};
use crate::state::StateDir;
use crate::store::{MAX_LISTED, Store};
use crate::transform::Transforms;

/// A sink's profile, with what the configuration overrides.
pub(super) fn resolve_profile<S: Sink>(settings: &Settings, config: &S::Config) -> Result<SinkProfile> {
    let (own, delivery) = (S::profile(config), &settings.delivery);
    let batch = &delivery.batch;
    let ordering = delivery.ordering.unwrap_or(own.ordering);
    if ordering < own.required_ordering {
        let (set, needed) = (ordering.as_str(), own.required_ordering.as_str());
        return Err(Error::config(
            codes::ORDERING_TOO_WEAK,
            format!("delivery.ordering is {set}, but {} needs {needed} with this configuration", S::NAME),
        )
        .hint(format!("Leave delivery.ordering out, or set it to {needed}.")));
    }
    Ok(SinkProfile {
        batch_events: batch.max_events.unwrap_or(own.batch_events).max(1),
        batch_bytes: batch
            .max_bytes
            .map_or(own.batch_bytes, crate::bytes_size::ByteSize::as_usize)
            .max(1),
        batch_age: batch.max_age.map_or(own.batch_age, |age| age.0),
        in_flight: delivery.in_flight.unwrap_or(own.in_flight).max(1),
        ordering,
        ..own
    })
}

/// Runs a sink until it is stopped or can't go on. Everything that the mesh has been told is safe is then in the target, in
/// the dead letters or in the inbox.
///
/// # Errors
///
/// What kept the sink from starting, or why it could not go on.
pub async fn run_sink<S: Sink>(app: App<S::Config>) -> Result<Exit> {
    let App {
        settings,
        config,
        status,
        shutdown,
        drain,
        ..
    } = app;
    let transforms = Transforms::compile(&settings.transforms, Some(&settings.delivery.key))?;
    let profile = resolve_profile::<S>(&settings, &config)?;
    let state = StateDir::open(&settings, S::NAME)?;
    let budget = Budget::new(&settings.limits);
    let limit = budget.event_limit(&settings.limits);
    let [received, entries_budget] = budget.divide([1, 3]);
    status.watch_budget([received.clone(), entries_budget.clone()]);
    let mesh_ends = CancellationToken::new();
    let _mesh_guard = mesh_ends.clone().drop_guard();
    let (subscriber, acknowledge) = if drain {
        (None, Acknowledge::Inbox)
    } else {
        let Some(subscriber) = subscribe(&settings, received, &mesh_ends, &shutdown).await? else {
            return Ok(Exit::Clean);
        };
        let mesh = subscriber.capabilities();
        let acknowledge = guarantee::acknowledge(settings.delivery.acknowledge, &mesh);
        let computed = guarantee::of_sink(acknowledge, &mesh, profile.idempotent);
        announce_sink(S::NAME, &settings, &computed, mesh, &status)?;
        (Some(subscriber), acknowledge)
    };
    let (dead_letters, publisher) = open_dead_letters(&settings, &state, S::NAME, &mesh_ends).await?;
    let store = Store::in_folder(state.path());
    let rates = restore_rates(&settings, &store).await?;
    let sink = Arc::new(S::open(config, SinkContext::new(&settings.name, &profile, store.clone())).await?);
    let intake = Intake::start(IntakeParts {
        folder: state.path(),
        inbox_max: settings.state.inbox_max.0,
        acknowledge,
        subscriber,
        transforms,
        limit,
        budget: entries_budget.clone(),
        shutdown: shutdown.clone(),
    })?;
    let Intake {
        entries,
        mut failures,
        inbox,
        replay,
        tasks,
    } = intake;
    status.set_state(State::Running);
    let worker = DeliveryWorker {
        writer: Arc::clone(&sink),
        delivery: DeliveryState::new(rules(&settings, &profile, rates, &entries_budget)),
        outcomes: Outcomes {
            inbox,
            replay: replay.clone(),
            status: status.clone(),
        },
        dead_letters,
        store,
        retry: RetryPolicy::new(&settings.delivery.retry),
        flow: status.flow(),
        standing: Standing::Connector(status.clone()),
        status: status.clone(),
        shutdown,
        deadline: deadline(&settings.delivery),
        budget: entries_budget,
        tasks: Tasks::default(),
    };
    let ended = worker.run(entries, &mut failures).await;
    let exit = exit_of_sink(ended.result, ended.left, &status);
    tasks.close().await;
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

/// The rate limits, with what an earlier run has spent.
async fn restore_rates(settings: &Settings, store: &Store) -> Result<RateLimits> {
    let limits = settings
        .delivery
        .rate_limit
        .as_ref()
        .map_or_else(Vec::new, RateLimitSetting::limits);
    let mut rates = RateLimits::new(limits);
    if rates.are_stored() {
        let unusable = |failure: Failure| {
            Error::unavailable(codes::STORE_UNAVAILABLE, "what is left of the rate limits can't be restored").because(failure)
        };
        let stored = store.list(rates::STORE_PREFIX, MAX_LISTED).await.map_err(unusable)?;
        let stale = rates.restore(stored, Instant::now(), SystemTime::now());
        store.apply(stale).await.map_err(unusable)?;
    }
    Ok(rates)
}

/// One batch takes at most half of the budget for events.
fn rules(settings: &Settings, profile: &SinkProfile, rates: RateLimits, budget: &Budget) -> DeliveryRules {
    DeliveryRules {
        ordering: profile.ordering,
        atomic: profile.atomic,
        batch: BatchLimits {
            events: profile.batch_events,
            bytes: profile.batch_bytes.min(budget.largest()),
            age: profile.batch_age,
        },
        in_flight: profile.in_flight,
        retry: RetryPolicy::new(&settings.delivery.retry),
        circuit: Circuit::new(&settings.delivery.circuit),
        rates,
    }
}
