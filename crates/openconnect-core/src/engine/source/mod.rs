//! Runs a source: opens what it needs, waits for its lease, and closes it again.
//!
//! | file | what is in it |
//! |---|---|
//! | `worker.rs` | starts the source's tasks, and stops them in order |
//! | `reader.rs`, `publishing.rs`, `committing.rs` | the tasks that read, publish in a bounded window, and commit upstream |
//! | `outbound.rs` | starts the tasks that publish and follow the outcomes |
//! | `input.rs` | a topic whose events the source answers |
//! | `spool/` | events that are safe on disk before the mesh has them |
//! | `accepting.rs` | whether events can be taken now |
//! | `tracker.rs` | how far each partition has come, and when that is stored |
//! | `resolver.rs`, `prefix.rs` | the outcome of each event; the contiguous prefix of what is resolved |
//! | `lease.rs` | which process of several may publish |

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::admin::{State, StatusHandle};
use crate::budget::Budget;
use crate::codes;
use crate::config::{ConnectorConfig as _, Settings};
use crate::dead_letter::{DeadLetters, ReplayQueue};
use crate::engine::retry::RetryPolicy;
use crate::engine::{App, deadline, exit_of_drain, group, guarantee, log_running};
use crate::error::{Error, Exit, Result};
use crate::mesh::Publisher;
use crate::offsets::{self, OffsetStore};
use crate::record::Partition;
use crate::source::{Accept, OffsetKeeper, Replay, Source, SourceContext, SourceProfile};
use crate::state::{StateDir, input_folder};
use crate::store::Store;
use crate::transform::Transforms;

mod accepting;
mod committing;
pub(super) mod input;
mod lease;
mod outbound;
mod prefix;
mod publishing;
mod reader;
mod resolver;
mod spool;
mod tracker;
mod worker;

use accepting::Accepting;
use input::{InputMemory, InputParts};
use outbound::Outbound;
use spool::{FirstSession, Spool};

/// How much of the memory what comes from the source has, and what is published out of the spool.
const SPOOL_SHARES: [usize; 2] = [3, 1];
/// How much of the memory the input has, and what the source emits: answers have room however much waits for them.
const INPUT_SHARES: [usize; 2] = [1, 1];

/// Runs a source until it is stopped or can't go on. Offsets are durable when it returns.
pub async fn run_source<S: Source>(app: App<S::Config>) -> Result<Exit> {
    let App {
        settings,
        config,
        shared_offsets,
        status,
        drain,
        shutdown,
    } = app;
    let compile = || Transforms::compile(&settings.transforms, Some(&settings.delivery.key));
    let transforms = compile()?;
    let input_transforms = settings.input.as_ref().map(input::transforms).transpose()?;
    let state = StateDir::open(&settings, S::NAME)?;
    let profile = S::profile(&config);
    fits(S::NAME, &profile)?;
    input::fits(S::NAME, S::Config::TAKES_INPUT, &profile, &settings)?;
    let has_spool = Spool::exists(state.path());
    let drains_input = drain && settings.input.is_some() && input::exists(state.path());
    if drain && !has_spool && !drains_input {
        return Err(nothing_to_drain(&settings.name));
    }
    let spools = profile.accept == Accept::Spool && !drain;
    let offsets = match profile.offsets {
        OffsetKeeper::Core => offsets::open(&settings, S::NAME, state.path(), shared_offsets).await?,
        OffsetKeeper::Upstream | OffsetKeeper::Nobody => offsets::keep_none(&settings, S::NAME)?,
    };
    let computed = guarantee::of_source(profile.replay, profile.accept);
    guarantee::enforce(&computed, settings.delivery.require)?;
    status.set_guarantee(computed.guarantee);
    let memory = Memory::new(&settings, spools, &status);
    // The client outlives the shutdown signal: it must deliver what is in flight.
    let mesh_ends = CancellationToken::new();
    let _mesh_guard = mesh_ends.clone().drop_guard();
    let (publisher, session) = Publisher::open(&settings.mesh, group(&settings), mesh_ends.clone())?;
    let mut session: FirstSession = Box::pin(session);
    if !spools {
        tokio::select! {
            connected = &mut session => connected?,
            () = shutdown.cancelled() => return Ok(Exit::Clean),
        }
        status.set_server(publisher.capabilities());
    }
    let dead_letters = DeadLetters::open(&settings.dead_letter, state.path(), S::NAME, Some(publisher.clone())).await?;
    let dead_letters = Arc::new(dead_letters);
    // A standby waits here, with everything else ready.
    let Some(lease) = lease::Lease::wait(Arc::clone(&offsets), settings.state.lease_ttl.0, &status, &shutdown).await? else {
        publisher.close().await;
        return Ok(Exit::Clean);
    };
    let Memory {
        source: budget,
        published_from_spool,
        input: input_memory,
    } = memory;
    // What is taken must have room on its way out of the spool too.
    let limit = published_from_spool.as_ref().unwrap_or(&budget).event_limit(&settings.limits);
    let callers_keep_events = profile.replay == Replay::ByCaller;
    let outbound = |transforms| {
        Outbound::new(
            &settings,
            transforms,
            limit,
            &publisher,
            &dead_letters,
            callers_keep_events,
            &status,
        )
    };
    if has_spool && !spools {
        let spool = Spool::open(state.path(), &settings, budget.clone(), &status)?;
        let exit = spool
            .publish_left(outbound(compile()?), lease.watch(), &shutdown, deadline(&settings.delivery))
            .await
            .map_err(worker::stopped);
        if (drain && !drains_input) || shutdown.is_cancelled() || !matches!(exit, Ok(Exit::Clean)) {
            publisher.close().await;
            lease.release().await;
            return exit;
        }
    }
    let store = offsets.store(lease.fence()).unwrap_or_else(|| Store::in_folder(state.path()));
    let (input, computed) = match settings.input.as_ref().zip(input_transforms).zip(input_memory) {
        Some(((input, transforms), memory)) => {
            let parts = InputParts {
                settings: &settings,
                input,
                instance: state.path(),
                transforms,
                memory,
                in_flight: input.in_flight.unwrap_or(profile.input_in_flight),
                dead_letters: dead_letters.of_input(&input.topic),
                store: store.clone(),
                status: status.clone(),
                drain,
            };
            let Some((input, computed)) = parts.open(computed, &mesh_ends, &shutdown).await? else {
                publisher.close().await;
                lease.release().await;
                return Ok(Exit::Clean);
            };
            (Some(input), computed)
        }
        None => {
            input::warn_of_left(state.path());
            (None, computed)
        }
    };
    let (input, given) = input.unzip();
    let spool = match published_from_spool {
        Some(budget) => Some(Spool::open(state.path(), &settings, budget, &status)?),
        None => None,
    };
    let accepting = spool.as_ref().map_or_else(|| Accepting::Mesh(publisher.status()), Spool::accepting);
    let (intake_seen, _following) = accepting.clone().shown(drain, &shutdown);
    let (source, committer) = S::open(
        config,
        SourceContext {
            name: settings.name.clone(),
            offsets: saved(&*offsets).await?,
            intake: intake_seen,
            input: given,
            max_event_bytes: limit.bytes,
            budget: budget.clone(),
            store,
            shutdown: shutdown.clone(),
        },
    )
    .await?;
    log_running(S::NAME, &settings, &computed, (!spools).then(|| publisher.capabilities()).as_ref());
    status.set_state(State::Running);
    let worker = worker::SourceWorker {
        source,
        committer,
        outbound: outbound(transforms),
        publisher: publisher.clone(),
        spool: spool.map(|spool| (spool, session)),
        input,
        accepting,
        budget,
        offsets,
        lease,
        retry: RetryPolicy::new(&settings.delivery.retry),
        flush_interval: settings.state.flush_interval.0.max(Duration::from_millis(10)),
        status: status.clone(),
        shutdown,
        deadline: deadline(&settings.delivery),
    };
    let exit = worker.run().await;
    status.set_state(State::Stopped);
    match drains_input {
        true => Ok(exit_of_drain(exit?, &ReplayQueue::open(&input_folder(state.path()))?)),
        false => exit,
    }
}

/// Refuses a spool for a source that reads from positions: what the mesh does not have is still in the system that is read, and a
/// position that has moved past it would leave its only copy on this machine's disk.
pub(super) fn fits(connector: &str, profile: &SourceProfile) -> Result<()> {
    let has_positions = profile.replay == Replay::FromPosition || profile.offsets != OffsetKeeper::Nobody;
    if profile.accept == Accept::Spool && has_positions {
        return Err(Error::config(
            codes::SPOOL_REFUSED,
            format!("source.accept is spool, but {connector} reads from positions"),
        )
        .hint("Set source.accept to mesh: what the mesh does not have stays in the system that is read."));
    }
    Ok(())
}

fn nothing_to_drain(name: &str) -> Error {
    Error::config(codes::NOTHING_TO_DRAIN, format!("{name} has no spool, and no inbox of an input"))
        .hint("A source without `accept: spool` that has stopped holds nothing: its senders were told, or it has published everything before its offset.")
}

/// The memory of the process, in parts that do not wait for each other.
struct Memory {
    /// Of what comes from the source.
    source: Budget,
    /// Of what is published out of the spool, if it keeps one.
    published_from_spool: Option<Budget>,
    input: Option<InputMemory>,
}

impl Memory {
    fn new(settings: &Settings, spools: bool, status: &StatusHandle) -> Self {
        let (mut source, mut parts) = (Budget::new(&settings.limits), Vec::new());
        let mut memory_of_input = None;
        if settings.input.is_some() {
            let [input, emitted] = source.divide(INPUT_SHARES);
            let input = InputMemory::new(input, settings);
            parts.extend(input.parts());
            (source, memory_of_input) = (emitted, Some(input));
        }
        let mut published_from_spool = None;
        if spools {
            let [received, published] = source.divide(SPOOL_SHARES);
            parts.push(published.clone());
            (source, published_from_spool) = (received, Some(published));
        }
        parts.push(source.clone());
        status.watch_budget(parts);
        Self {
            source,
            published_from_spool,
            input: memory_of_input,
        }
    }
}

async fn saved<P: crate::record::Position>(offsets: &dyn OffsetStore) -> Result<std::collections::BTreeMap<Partition, P>> {
    offsets
        .all()
        .await?
        .into_iter()
        .map(|(partition, json)| match serde_json::from_value(json) {
            Ok(position) => Ok((Partition::new(partition), position)),
            Err(e) => Err(Error::unavailable(
                codes::OFFSET_UNREADABLE,
                format!("the saved offset of partition `{partition}` can't be read"),
            )
            .because(e)
            .hint("Look at it with `offsets show`; set it with `offsets set`, or forget it with `offsets reset`.")),
        })
        .collect()
}
