//! The delivery engine: what happens between a connector's one read or one write and the mesh.
//!
//! | file | what is in it |
//! |---|---|
//! | `source/` | a source's run: its worker polls, publishes and stores offsets; its spool; its resolver follows the outcome of each event; its lease |
//! | `sink.rs` | a sink's run |
//! | `staging/` | a staging sink's run: events wait in the inbox until their group is visible |
//! | `intake/` | events from a topic: from the mesh, from the inbox, from replayed dead letters |
//! | `delivery/` | what becomes of them: the pure state of delivery, and the worker that writes what it asks for |
//! | `payload.rs` | what an event became on its way in |
//! | `retry.rs`, `circuit.rs` | how long to wait; when to stop |
//! | `guarantee.rs`, `check.rs` | what holds, computed before anything runs; `check` |

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::admin::StatusHandle;
use crate::budget::Budget;
use crate::codes;
use crate::config::{DeliverySettings, Settings};
use crate::dead_letter::{DeadLetters, ReplayQueue};
use crate::error::{Error, Exit, Result};
use crate::failure::Failure;
use crate::mesh::{Capabilities, Publisher, Subscriber};
use crate::offsets::SharedOffsets;
use crate::state::StateDir;
use guarantee::Computed;

pub mod check;
mod circuit;
mod delivery;
pub mod guarantee;
mod intake;
mod payload;
mod retry;
mod sink;
mod source;
mod staging;

pub use sink::run_sink;
pub use source::run_source;
pub use staging::run_staging_sink;

/// Events transformed at once: a hand-over to the thread of jq programs costs about as much as a program.
const TRANSFORM_BATCH: usize = 32;

/// One connector, ready to run: its settings, its own section, and the ends it shares with the command line.
pub struct App<C> {
    /// The settings that every connector has.
    pub settings: Settings,
    /// The connector's own section.
    pub config: C,
    /// Opens `state.offsets`, for a source whose binary can share them.
    pub shared_offsets: Option<&'static dyn SharedOffsets>,
    /// What the admin server shows.
    pub status: StatusHandle,
    /// A sink delivers what its inbox holds, a source publishes what its spool holds; it takes nothing new, and ends.
    pub drain: bool,
    /// Cancelled when the connector shall stop.
    pub shutdown: CancellationToken,
}

/// Consumer or producer group: `mesh.group`, or the instance's name.
pub(crate) fn group(settings: &Settings) -> &str {
    settings.mesh.group.as_deref().unwrap_or(&settings.name)
}

fn deadline(delivery: &DeliverySettings) -> Duration {
    delivery.shutdown_timeout.0
}

/// A sink's subscriber, with its part of the budget; `None` when the connector was stopped before there was a session.
async fn subscribe(
    settings: &Settings,
    budget: Budget,
    mesh_ends: &CancellationToken,
    shutdown: &CancellationToken,
) -> Result<Option<Subscriber>> {
    tokio::select! {
        connected = Subscriber::connect(&settings.mesh, group(settings), budget, mesh_ends.clone()) => connected.map(Some),
        () = shutdown.cancelled() => Ok(None),
    }
}

/// Refuses a guarantee that is too weak for a sink, and says which one holds.
fn announce_sink(connector: &str, settings: &Settings, computed: &Computed, mesh: Capabilities, status: &StatusHandle) -> Result<()> {
    guarantee::enforce(computed, settings.delivery.require)?;
    log_running(connector, settings, computed, Some(&mesh));
    status.set_server(mesh);
    status.set_guarantee(computed.guarantee);
    Ok(())
}

/// `mesh` is what its server has told; none while there is no session.
fn log_running(connector: &str, settings: &Settings, computed: &Computed, mesh: Option<&Capabilities>) {
    tracing::info!(
        connector,
        name = settings.name,
        guarantee = computed.guarantee.as_str(),
        server = mesh.map(|mesh| mesh.server.as_str()),
        topic = settings.mesh.topic,
        "running: {}",
        computed.because
    );
}

/// How a sink ends: with what stopped it, or by what is `left` in the mesh or the inbox.
fn exit_of_sink(ended: Result<(), Failure>, left: u64, status: &StatusHandle) -> Result<Exit> {
    if let Err(failure) = ended {
        status.error(failure.code, failure.reason());
        return Err(Error::undelivered(codes::CANNOT_CONTINUE, "the connector can't go on")
            .because(failure)
            .hint("Mend the cause and start again: what is undelivered is kept and delivered then."));
    }
    if left > 0 {
        tracing::warn!(
            events = left,
            "stopped with undelivered events; they are kept and delivered at the next start"
        );
        return Ok(Exit::Undelivered);
    }
    Ok(Exit::Clean)
}

/// How a drain ends: dead letters that were handed back go through the intake of a run, and are left.
fn exit_of_drain(exit: Exit, replay: &ReplayQueue) -> Exit {
    if exit == Exit::Clean && replay.has_files() {
        tracing::warn!("dead letters that were handed back are left; `run` delivers them");
        return Exit::Undelivered;
    }
    exit
}

/// A sink's dead letters, and the publisher that they need when they go to a topic.
async fn open_dead_letters(
    settings: &Settings,
    state: &StateDir,
    connector: &'static str,
    mesh_ends: &CancellationToken,
) -> Result<(Arc<DeadLetters>, Option<Publisher>)> {
    let publisher = match &settings.dead_letter.topic {
        Some(_) => Some(Publisher::connect(&settings.mesh, group(settings), mesh_ends.clone()).await?),
        None => None,
    };
    let dead_letters = DeadLetters::open(&settings.dead_letter, state.path(), connector, publisher.clone()).await?;
    Ok((Arc::new(dead_letters), publisher))
}
