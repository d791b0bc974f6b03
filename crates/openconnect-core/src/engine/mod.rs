//! The delivery engine: what happens between a connector's one read or one write and the mesh.
//!
//! | file | what is in it |
//! |---|---|
//! | `source.rs`, `resolver.rs` | the source worker: poll, publish, offsets; what becomes of each event |
//! | `intake.rs`, `sink.rs` | the sink: from the mesh or the inbox into the worker; batches, writes, retries, outcomes |
//! | `scheduler.rs` | which events may be written now, by ordering |
//! | `prefix.rs`, `retry.rs`, `circuit.rs` | the contiguous prefix; how long to wait; when to stop |
//! | `lease.rs` | which process of several may publish |
//! | `guarantee.rs`, `check.rs` | what holds, computed before anything runs; `check` |

use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use openconnect_protocol::payload;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::{State, StatusHandle};
use crate::budget::Budget;
use crate::config::{Acknowledge, DeliverySettings, Settings};
use crate::dead_letter::{DeadLetters, ReplayQueue};
use crate::error::{Error, Exit, Result};
use crate::failure::Failure;
use crate::inbox::{Appender, Entries, Inbox, Stored};
use crate::mesh::{MeshStatus, Publisher, Subscriber};
use crate::offsets::{self, OffsetStore};
use crate::record::Partition;
use crate::sink::{Sink, SinkContext, SinkDefaults};
use crate::source::{Intake, Source, SourceContext};
use crate::state::StateDir;
use crate::transform::Transforms;

pub mod check;
mod circuit;
pub mod guarantee;
mod intake;
mod lease;
mod prefix;
mod resolver;
mod retry;
mod scheduler;
mod sink;
mod source;

use intake::{Arrived, Decoder, Entry, Origin, Preparer, Read, TAKE};
use retry::RetryPolicy;
use scheduler::{BatchLimits, Scheduler};

const DEFAULT_SHUTDOWN: Duration = Duration::from_secs(20);
/// How often the replay file is looked at.
const REPLAY_INTERVAL: Duration = Duration::from_millis(500);

/// One connector, ready to run: its settings, its own section, and the ends it shares with the command line.
pub struct App<C> {
    /// The settings that every connector has.
    pub settings: Settings,
    /// The connector's own section.
    pub config: C,
    /// What the admin server shows.
    pub status: StatusHandle,
    /// Cancelled when the connector shall stop.
    pub shutdown: CancellationToken,
}

/// Consumer or producer group: `mesh.group`, or the instance's name.
pub(crate) fn group(settings: &Settings) -> &str {
    settings.mesh.group.as_deref().unwrap_or(&settings.name)
}

fn deadline(delivery: &DeliverySettings) -> Duration {
    delivery.shutdown_timeout.map_or(DEFAULT_SHUTDOWN, |timeout| timeout.0)
}

/// Runs a source until it is stopped or can't go on. Offsets are durable when it returns.
pub async fn run_source<S: Source>(app: App<S::Config>) -> Result<Exit> {
    let App {
        settings,
        config,
        status,
        shutdown,
    } = app;
    let transforms = Transforms::compile(&settings.transforms, settings.delivery.key.as_deref())?;
    let state = StateDir::open(&settings, S::NAME)?;
    let offsets = offsets::open(&settings, S::NAME, state.path()).await?;
    let computed = guarantee::of_source(S::REPLAYABLE);
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
    let source = S::open(
        config,
        SourceContext {
            name: settings.name.clone(),
            offsets: saved(&*offsets).await?,
            intake: intake_seen,
            max_event_bytes: settings.limits.max_event_bytes.as_usize(),
            shutdown: shutdown.clone(),
        },
    )
    .await?;
    tracing::info!(
        connector = S::NAME,
        name = settings.name,
        guarantee = computed.guarantee.as_str(),
        server = publisher.capabilities().server,
        topic = settings.mesh.topic,
        "running: {}",
        computed.because
    );
    status.set_state(State::Running);
    let worker = source::SourceWorker {
        source,
        publisher,
        topic: settings.mesh.topic.clone(),
        transforms,
        budget: Budget::new(&settings.limits),
        max_event_bytes: settings.limits.max_event_bytes.as_usize(),
        offsets,
        lease,
        flush_interval: settings.state.flush_interval.0.max(Duration::from_millis(10)),
        status: status.clone(),
        shutdown,
        deadline: deadline(&settings.delivery),
    };
    let exit = worker
        .run(
            Arc::new(dead_letters),
            RetryPolicy::new(&settings.delivery.retry),
            circuit::Circuit::new(&settings.delivery.circuit),
        )
        .await;
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

/// A sink's numbers, from its defaults and the configuration.
fn resolve_defaults<S: Sink>(settings: &Settings, config: &S::Config) -> SinkDefaults {
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
    let worker = sink::SinkWorker {
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
        circuit: circuit::Circuit::new(&settings.delivery.circuit),
        in_flight: if defaults.ordering == crate::sink::Ordering::Total {
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

/// Feeds the worker; one clone a way in. Ends at shutdown.
#[derive(Clone)]
struct Feeder {
    preparer: Arc<Preparer>,
    to: mpsc::Sender<Vec<Entry>>,
    fatal: mpsc::Sender<Failure>,
    shutdown: CancellationToken,
}

/// A feeder that panics must not leave a connector that looks alive: the worker is told.
impl Drop for Feeder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.fatal.try_send(Failure::fatal(
                "OC0490",
                "a task that takes events in ended abnormally; this is a bug",
            ));
        }
    }
}

impl Feeder {
    /// From the mesh, to the inbox or straight to the worker. Gives the subscriber back, which must outlive the worker for
    /// its acknowledgements.
    async fn receive(self, mut subscriber: Subscriber, appender: Option<Appender>) -> Option<Subscriber> {
        let shutdown = self.shutdown.clone();
        let mut deliveries = Vec::new();
        loop {
            let received = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                received = subscriber.recv(&mut deliveries, TAKE) => received,
            };
            if let Err(failure) = received {
                let _ = self.fatal.send(failure).await;
                break;
            }
            let taken = std::mem::take(&mut deliveries);
            let handed = async {
                match &appender {
                    Some(appender) => match appender.append(taken).await {
                        Ok(()) => true,
                        Err(failure) => {
                            let _ = self.fatal.send(failure).await;
                            false
                        }
                    },
                    None => self.preparer.hand_over(taken.into_iter().map(Into::into).collect(), &self.to).await,
                }
            };
            let open = tokio::select! {
                open = handed => open,
                () = shutdown.cancelled() => break,
            };
            if !open {
                break;
            }
        }
        subscriber.stop().await;
        Some(subscriber)
    }

    async fn read(self, mut stored: Entries<(Read, usize)>) {
        let work = async {
            loop {
                match stored.next().await {
                    Ok(chunk) => {
                        let arrived = chunk
                            .into_iter()
                            .map(|(index, (read, bytes))| (Arrived::Read(read, bytes), Origin::Inbox(index)))
                            .collect();
                        if !self.preparer.hand_over(arrived, &self.to).await {
                            return;
                        }
                    }
                    Err(error) => {
                        let _ = self.fatal.send(Failure::fatal(error.code, error.message)).await;
                        return;
                    }
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    async fn replay(self, queue: ReplayQueue) {
        let work = async {
            loop {
                match queue.poll() {
                    Ok(events) if events.is_empty() => tokio::time::sleep(REPLAY_INTERVAL).await,
                    Ok(events) => {
                        let arrived = events
                            .into_iter()
                            .map(|(token, event)| {
                                let bytes = payload::bytes(&event).map_or(0, |data| data.len());
                                (Arrived::Read(Ok(Arc::new(event)), bytes), Origin::Replay(token))
                            })
                            .collect();
                        if !self.preparer.hand_over(arrived, &self.to).await {
                            return;
                        }
                    }
                    Err(failure) => {
                        tracing::error!(code = %failure.code, "dead letters can't be replayed: {}", failure.message);
                        tokio::time::sleep(REPLAY_INTERVAL * 10).await;
                    }
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = self.shutdown.cancelled() => {}
        }
    }
}
