//! Runs a source: opens what it needs, waits for its lease, and closes it again.
//!
//! | file | what is in it |
//! |---|---|
//! | `worker.rs` | starts the source's tasks, and stops them in order |
//! | `reader.rs`, `publishing.rs`, `committing.rs` | the tasks that read, publish in a bounded window, and commit upstream |
//! | `tracker.rs` | how far each partition has come, and when that is stored |
//! | `resolver.rs`, `prefix.rs` | the outcome of each event; the contiguous prefix of what is resolved |
//! | `lease.rs` | which process of several may publish |

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::State;
use crate::budget::Budget;
use crate::dead_letter::DeadLetters;
use crate::engine::circuit::Circuit;
use crate::engine::retry::RetryPolicy;
use crate::engine::{App, deadline, group, guarantee, log_running};
use crate::error::{Error, Exit, Result};
use crate::mesh::{MeshStatus, Publisher};
use crate::offsets::{self, OffsetStore};
use crate::record::Partition;
use crate::source::{Intake, OffsetKeeper, Source, SourceContext};
use crate::state::StateDir;
use crate::store::Store;
use crate::transform::Transforms;

mod committing;
mod lease;
mod prefix;
mod publishing;
mod reader;
mod resolver;
mod tracker;
mod worker;

/// Runs a source until it is stopped or can't go on. Offsets are durable when it returns.
pub async fn run_source<S: Source>(app: App<S::Config>) -> Result<Exit> {
    let App {
        settings,
        config,
        shared_offsets,
        status,
        shutdown,
        ..
    } = app;
    let transforms = Transforms::compile(&settings.transforms, Some(&settings.delivery.key))?;
    let state = StateDir::open(&settings, S::NAME)?;
    let profile = S::profile(&config);
    let offsets = match profile.offsets {
        OffsetKeeper::Core => offsets::open(&settings, S::NAME, state.path(), shared_offsets).await?,
        OffsetKeeper::Upstream | OffsetKeeper::Nobody => offsets::keep_none(&settings, S::NAME)?,
    };
    let computed = guarantee::of_source(profile.replay);
    guarantee::enforce(&computed, settings.delivery.require)?;
    // The client outlives the shutdown signal: it must deliver what is in flight.
    let mesh_ends = CancellationToken::new();
    let _mesh_guard = mesh_ends.clone().drop_guard();
    let connected = tokio::select! {
        connected = Publisher::connect(&settings.mesh, group(&settings), mesh_ends.clone()) => connected,
        () = shutdown.cancelled() => return Ok(Exit::Clean),
    };
    let publisher = connected?;
    status.set_server(publisher.capabilities());
    status.set_guarantee(computed.guarantee);
    let dead_letters = DeadLetters::open(&settings.dead_letter, state.path(), S::NAME, Some(publisher.clone())).await?;
    // A standby waits here, with everything else ready.
    let Some(lease) = lease::Lease::wait(Arc::clone(&offsets), settings.state.lease_ttl.0, &status, &shutdown).await? else {
        publisher.close().await;
        return Ok(Exit::Clean);
    };
    let (intake, intake_seen) = watch::channel(Intake::Open);
    let _follow = AbortOnDropHandle::new(tokio::spawn(follow(publisher.status(), intake, shutdown.clone())));
    let budget = Budget::new(&settings.limits);
    status.watch_budget([budget.clone()]);
    let limit = budget.event_limit(&settings.limits);
    let (source, committer) = S::open(
        config,
        SourceContext {
            name: settings.name.clone(),
            offsets: saved(&*offsets).await?,
            intake: intake_seen,
            max_event_bytes: limit.bytes,
            budget: budget.clone(),
            store: Store::in_folder(state.path()),
            shutdown: shutdown.clone(),
        },
    )
    .await?;
    log_running(S::NAME, &settings, &computed, &publisher.capabilities());
    status.set_state(State::Running);
    let worker = worker::SourceWorker {
        source,
        committer,
        publisher,
        topic: settings.mesh.topic.clone(),
        transforms,
        budget,
        limit,
        offsets,
        lease,
        dead_letters: Arc::new(dead_letters),
        retry: RetryPolicy::new(&settings.delivery.retry),
        circuit: Circuit::new(&settings.delivery.circuit),
        flush_interval: settings.state.flush_interval.0.max(Duration::from_millis(10)),
        status: status.clone(),
        shutdown,
        deadline: deadline(&settings.delivery),
    };
    let exit = worker.run().await;
    status.set_state(State::Stopped);
    exit
}

async fn saved<P: crate::record::Position>(offsets: &dyn OffsetStore) -> Result<std::collections::BTreeMap<Partition, P>> {
    offsets
        .all()
        .await?
        .into_iter()
        .map(|(partition, json)| match serde_json::from_value(json) {
            Ok(position) => Ok((Partition::new(partition), position)),
            Err(e) => Err(
                Error::unavailable("OC0211", format!("the saved offset of partition `{partition}` can't be read: {e}"))
                    .hint("Look at it with `offsets show`; set it with `offsets set`, or forget it with `offsets reset`."),
            ),
        })
        .collect()
}

/// Tells a source that can refuse whether the mesh takes events.
async fn follow(mut mesh: watch::Receiver<MeshStatus>, intake: watch::Sender<Intake>, shutdown: CancellationToken) {
    loop {
        let open = matches!(&*mesh.borrow_and_update(), MeshStatus::Connected);
        intake.send_replace(if open { Intake::Open } else { Intake::Blocked });
        tokio::select! {
            () = shutdown.cancelled() => break,
            changed = mesh.changed() => if changed.is_err() { break },
        }
    }
    intake.send_replace(Intake::Closed);
}
