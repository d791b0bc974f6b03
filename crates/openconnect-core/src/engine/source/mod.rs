//! Runs a source: opens what it needs, waits for its lease, and closes it again.
//!
//! | file | what is in it |
//! |---|---|
//! | `worker.rs` | starts the source's tasks, and stops them in order |
//! | `reader.rs`, `publishing.rs`, `committing.rs` | the tasks that read, publish in a bounded window, and commit upstream |
//! | `outbound.rs` | starts the tasks that publish and follow the outcomes |
//! | `spool/` | events that are safe on disk before the mesh has them |
//! | `accepting.rs` | whether events can be taken now |
//! | `tracker.rs` | how far each partition has come, and when that is stored |
//! | `resolver.rs`, `prefix.rs` | the outcome of each event; the contiguous prefix of what is resolved |
//! | `lease.rs` | which process of several may publish |

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::{State, StatusHandle};
use crate::budget::Budget;
use crate::codes;
use crate::config::Settings;
use crate::dead_letter::DeadLetters;
use crate::engine::retry::RetryPolicy;
use crate::engine::{App, deadline, group, guarantee, log_running};
use crate::error::{Error, Exit, Result};
use crate::mesh::Publisher;
use crate::offsets::{self, OffsetStore};
use crate::record::Partition;
use crate::source::{Accept, Intake, OffsetKeeper, Replay, Source, SourceContext, SourceProfile};
use crate::state::StateDir;
use crate::store::Store;
use crate::transform::Transforms;

mod accepting;
mod committing;
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
use outbound::Outbound;
use spool::{FirstSession, Spool};

/// How much of the memory what comes from the source has, and what is published out of the spool.
const SPOOL_SHARES: [usize; 2] = [3, 1];

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
    let state = StateDir::open(&settings, S::NAME)?;
    let profile = S::profile(&config);
    fits(S::NAME, &profile)?;
    let has_spool = Spool::exists(state.path());
    if drain && !has_spool {
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
    let (budget, published_from_spool) = memory(&settings, spools, &status);
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
        if drain || shutdown.is_cancelled() || !matches!(exit, Ok(Exit::Clean)) {
            publisher.close().await;
            lease.release().await;
            return exit;
        }
    }
    let spool = match published_from_spool {
        Some(budget) => Some(Spool::open(state.path(), &settings, budget, &status)?),
        None => None,
    };
    let accepting = spool.as_ref().map_or_else(|| Accepting::Mesh(publisher.status()), Spool::accepting);
    let (intake, intake_seen) = watch::channel(Intake::Open);
    let _follow = AbortOnDropHandle::new(tokio::spawn(accepting.clone().follow(intake, shutdown.clone())));
    let (source, committer) = S::open(
        config,
        SourceContext {
            name: settings.name.clone(),
            offsets: saved(&*offsets).await?,
            intake: intake_seen,
            max_event_bytes: limit.bytes,
            budget: budget.clone(),
            store: offsets.store(lease.fence()).unwrap_or_else(|| Store::in_folder(state.path())),
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
    exit
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
    Error::config(codes::NOTHING_TO_DRAIN, format!("{name} has no spool"))
        .hint("A source without `accept: spool` that has stopped holds nothing: its senders were told, or it has published everything before its offset.")
}

/// The memory of what comes from the source, and of what is published out of the spool, if it keeps one.
fn memory(settings: &Settings, spools: bool, status: &StatusHandle) -> (Budget, Option<Budget>) {
    let budget = Budget::new(&settings.limits);
    if !spools {
        status.watch_budget([budget.clone()]);
        return (budget, None);
    }
    let [received, published] = budget.divide(SPOOL_SHARES);
    status.watch_budget([received.clone(), published.clone()]);
    (received, Some(published))
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
