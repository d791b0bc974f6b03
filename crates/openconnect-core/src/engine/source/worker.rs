//! The source worker: polls, publishes in a bounded window, and moves offsets over the contiguous prefix of what the mesh
//! has confirmed.
//!
//! Two tasks. The worker owns the source: it polls, hands each event to the mesh client in order, stores offsets and tells
//! the source. The resolver owns everything that waits for an outcome: it answers receipts, writes dead letters, and tells
//! the worker how far each partition has come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use cloudevents::{AttributesReader, AttributesWriter, Event};
use openconnect_fault::{Defect, Failpoint, planted, reach};
use openconnect_protocol::payload;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::lease::{self, Lease};
use super::resolver::{Ending, Open, Pending, Progress, Resolver};
use crate::admin::{State, StatusHandle};
use crate::budget::{Budget, Permit};
use crate::dead_letter::DeadLetters;
use crate::engine::TRANSFORM_BATCH;
use crate::engine::circuit::Circuit;
use crate::engine::retry::RetryPolicy;
use crate::error::{Error, Exit, Result};
use crate::failure::Failure;
use crate::mesh::{MeshStatus, Publisher, Told};
use crate::offsets::OffsetStore;
use crate::record::{Partition, Receipt, Record};
use crate::source::Source;
use crate::transform::{Transformed, Transforms};

/// Batches on their way to the resolver, at the most.
const HANDED_OVER: usize = 64;
/// Between two attempts to store the last positions.
const AGAIN: Duration = Duration::from_millis(500);

/// What a worker is made of.
pub(crate) struct SourceWorker<S> {
    pub(crate) source: S,
    pub(crate) publisher: Publisher,
    pub(crate) topic: String,
    pub(crate) transforms: Transforms,
    pub(crate) budget: Budget,
    pub(crate) max_event_bytes: usize,
    pub(crate) offsets: Arc<dyn OffsetStore>,
    pub(crate) lease: Lease,
    pub(crate) flush_interval: Duration,
    pub(crate) status: StatusHandle,
    pub(crate) shutdown: CancellationToken,
    pub(crate) deadline: Duration,
}

/// A record that has its part of the budget.
struct Admitted<P> {
    event: Option<Arc<Event>>,
    bytes: usize,
    partition: Partition,
    position: Option<P>,
    receipt: Option<Receipt>,
    permit: Permit,
}

/// Where published events go on: to the resolver, with the numbers by which the mesh client tells their ends.
struct HandOver<P> {
    /// Of the next event.
    number: u64,
    ends: mpsc::UnboundedSender<Told>,
    pending: mpsc::Sender<Vec<Pending<P>>>,
}

/// What the worker must turn to.
enum Turn<P> {
    Polled(Result<Vec<Record<P>>, Failure>),
    /// Positions wait to be stored, and it is time.
    Save,
    Stop(Failure),
}

/// What goes on beside polling and publishing: outcomes come in, the mesh comes and goes.
struct Beside<P> {
    reached: mpsc::Receiver<Progress<P>>,
    /// How far each partition has come, not yet stored.
    unsaved: BTreeMap<Partition, P>,
    /// Stored, but the source could not be told yet.
    untold: BTreeMap<Partition, P>,
    flush: tokio::time::Interval,
    mesh: watch::Receiver<MeshStatus>,
    /// Why the last poll failed.
    failing: Option<String>,
    /// Why the last positions could not be stored.
    storing: Option<String>,
    lease: lease::Watch,
    status: StatusHandle,
}

impl<P> Beside<P> {
    /// Follows until there is something to do: positions to store when `may_save`, or a reason to stop. Cancel-safe.
    async fn next(&mut self, may_save: bool) -> Turn<P> {
        loop {
            self.show();
            let due = may_save && !(self.unsaved.is_empty() && self.untold.is_empty());
            tokio::select! {
                progress = self.reached.recv() => match progress {
                    Some(Progress::Reached(partition, position)) => { self.unsaved.insert(partition, position); }
                    Some(Progress::Stop(failure)) => return Turn::Stop(failure),
                    None => return Turn::Stop(Failure::fatal("OC0490", "the task that follows outcomes ended abnormally; this is a bug")),
                },
                _ = self.flush.tick(), if due => return Turn::Save,
                Ok(()) = self.mesh.changed() => {}
                mine = self.lease.changed() => if !mine {
                    return Turn::Stop(Failure::fatal("OC0213", "another process has taken over the lease"));
                },
            }
        }
    }

    fn show(&mut self) {
        let blocked = match &*self.mesh.borrow_and_update() {
            MeshStatus::Connected => None,
            MeshStatus::Disconnected { reason } => Some(format!("no session with the mesh: {reason}")),
            MeshStatus::Refusing { reason } => Some(format!("the mesh refuses events: {reason}")),
        };
        let blocked = blocked
            .or_else(|| self.lease.trouble())
            .or_else(|| self.storing.clone())
            .or_else(|| self.failing.as_ref().map(|reason| format!("the source gives no events: {reason}")));
        self.status.set_state(blocked.map_or(State::Running, State::Blocked));
    }

    /// Waits until the resolver has told all outcomes; false when the deadline came first or something failed.
    async fn drain(&mut self, deadline: Duration) -> bool {
        let outcomes = async {
            while let Some(progress) = self.reached.recv().await {
                match progress {
                    Progress::Reached(partition, position) => {
                        self.unsaved.insert(partition, position);
                    }
                    Progress::Stop(_) => return false,
                }
            }
            true
        };
        tokio::time::timeout(deadline, outcomes).await.unwrap_or(false)
    }
}

impl<S: Source> SourceWorker<S> {
    /// Runs until shutdown or until nothing can go on.
    pub(crate) async fn run(mut self, dead_letters: Arc<DeadLetters>, retry: RetryPolicy, circuit: Circuit) -> Result<Exit> {
        let (pending, queue) = mpsc::channel(HANDED_OVER);
        let (progress, reached) = mpsc::channel(1024);
        #[allow(
            clippy::disallowed_methods,
            reason = "bounded by the events in flight, each of which is told of once"
        )]
        let (ends, told) = mpsc::unbounded_channel();
        let resolver = Resolver::new(
            dead_letters,
            self.publisher.clone(),
            (retry, circuit),
            self.status.clone(),
            progress,
        );
        let resolver = tokio::spawn(resolver.run(queue, told));
        let mut hand_over = HandOver { number: 0, ends, pending };
        let mut beside = Beside {
            reached,
            unsaved: BTreeMap::new(),
            untold: BTreeMap::new(),
            flush: tokio::time::interval(self.flush_interval),
            mesh: self.publisher.status(),
            failing: None,
            storing: None,
            lease: self.lease.watch(),
            status: self.status.clone(),
        };
        let ended = self.flow(&mut beside, &mut hand_over, retry).await;
        if let Some(lost) = self.lease.lost() {
            // What is on its way is the successor's now: nothing more is published, waited for or stored.
            resolver.abort();
            return Err(lost);
        }
        self.status.set_state(State::Draining);
        drop(hand_over);
        let end = tokio::time::Instant::now() + self.deadline;
        let drained = beside.drain(self.deadline).await;
        resolver.abort();
        let drained = drained && !resolver.await.is_err_and(|e| e.is_panic());
        let saved = self.save_last(&mut beside, end).await;
        let closed = self.source.close().await;
        self.publisher.close().await;
        self.lease.release().await;
        ended.and(saved).and(closed)?;
        if drained { Ok(Exit::Clean) } else { Ok(Exit::Undelivered) }
    }

    /// Polls and publishes until shutdown. One poll goes on through everything but the moment in which the source is told
    /// what is stored.
    async fn flow(&mut self, beside: &mut Beside<S::Position>, hand_over: &mut HandOver<S::Position>, retry: RetryPolicy) -> Result<()> {
        let mut failures = 0;
        let mut not_before = None;
        loop {
            let poll = async {
                if let Some(at) = not_before {
                    tokio::time::sleep_until(at).await;
                }
                self.source.poll().await
            };
            let turn = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(()),
                turn = beside.next(true) => turn,
                polled = poll => Turn::Polled(polled),
            };
            match turn {
                Turn::Save => self.save(beside).await?,
                Turn::Polled(Ok(records)) => {
                    (failures, not_before, beside.failing) = (0, None, None);
                    self.status
                        .counts()
                        .received
                        .fetch_add(records.iter().filter(|record| record.event.is_some()).count() as u64, Relaxed);
                    if let Some(failure) = self.publish(records, hand_over, beside).await {
                        return Err(stopped(&failure));
                    }
                }
                Turn::Polled(Err(failure)) if failure.is_retryable() => {
                    failures += 1;
                    let wait = retry.wait(failures, &failure);
                    tracing::warn!(code = %failure.code, ?wait, "the source gives no events: {}", failure.message);
                    self.status.error(failure.code.clone(), failure.message.clone());
                    not_before = Some(tokio::time::Instant::now() + wait);
                    beside.failing = Some(failure.message);
                }
                Turn::Polled(Err(failure)) | Turn::Stop(failure) => return Err(stopped(&failure)),
            }
        }
    }

    /// Publishes records in order. Waiting for room goes on being interrupted by shutdown and by outcomes.
    async fn publish(
        &mut self,
        records: Vec<Record<S::Position>>,
        hand_over: &mut HandOver<S::Position>,
        beside: &mut Beside<S::Position>,
    ) -> Option<Failure> {
        let shutdown = self.shutdown.clone();
        let all = async {
            let mut ready = Vec::with_capacity(records.len().min(TRANSFORM_BATCH));
            for record in records {
                let bytes = record.event.as_ref().and_then(payload::bytes).map_or(0, |data| data.len());
                let permit = match self.budget.try_acquire(bytes) {
                    Some(permit) => permit,
                    // What has its permit already goes first: else this would wait for itself.
                    None => {
                        self.start(std::mem::take(&mut ready), hand_over).await?;
                        self.budget.acquire(bytes).await
                    }
                };
                ready.push(Admitted {
                    event: record.event.map(Arc::new),
                    bytes,
                    partition: record.partition,
                    position: record.position,
                    receipt: record.receipt,
                    permit,
                });
                if ready.len() == TRANSFORM_BATCH {
                    self.start(std::mem::take(&mut ready), hand_over).await?;
                }
            }
            self.start(ready, hand_over).await
        };
        tokio::select! {
            _ = all => None,
            // Records not yet handed over are dropped: their receipts say Failed, their offset does not move.
            () = shutdown.cancelled() => None,
            turn = beside.next(false) => match turn {
                Turn::Stop(failure) => Some(failure),
                Turn::Save | Turn::Polled(_) => None,
            },
        }
    }

    /// Transforms records and hands them to the mesh client, in order; `None` when nobody follows their outcomes any more.
    async fn start(&mut self, ready: Vec<Admitted<S::Position>>, hand_over: &mut HandOver<S::Position>) -> Option<()> {
        if ready.is_empty() {
            return Some(());
        }
        let (mut events, mut rest) = (Vec::with_capacity(ready.len()), Vec::with_capacity(ready.len()));
        for admitted in ready {
            events.push(match (admitted.event, self.too_large(admitted.bytes)) {
                (None, _) => Err(Ending::Nothing),
                (Some(event), Some(failure)) => Err(Ending::Rejected(failure, event)),
                (Some(event), None) => Ok(event),
            });
            rest.push((admitted.partition, admitted.position, admitted.receipt, admitted.permit));
        }
        let transformed = self.transforms.apply(events).await;
        let (mut publish, mut handed_over) = (Vec::with_capacity(rest.len()), Vec::with_capacity(rest.len()));
        for (transformed, (partition, position, receipt, permit)) in transformed.into_iter().zip(rest) {
            let number = hand_over.number;
            hand_over.number += 1;
            let ending = match transformed {
                Ok(Transformed::Keep(event, key)) => {
                    publish.push((number, damaged(event), key));
                    Ending::Published
                }
                Ok(Transformed::Failed(event, failure)) => Ending::Rejected(failure, event),
                Ok(Transformed::Drop) => Ending::Filtered,
                Ok(Transformed::Lost(failure)) => Ending::Rejected(failure, Arc::default()),
                Err(unfit) => unfit,
            };
            let open = Open {
                number,
                partition,
                position,
                receipt,
                _permit: permit,
            };
            handed_over.push(Pending { ending, open });
        }
        self.lease.lasting().await;
        self.publisher.send_many(&self.topic, publish, &hand_over.ends).await;
        hand_over.pending.send(handed_over).await.ok()
    }

    fn too_large(&self, bytes: usize) -> Option<Failure> {
        let limit = self.max_event_bytes;
        let reason = || format!("the event's data has {bytes} bytes, limits.max_event_bytes is {limit}");
        (bytes > limit).then(|| Failure::permanent("OC0403", reason()))
    }

    /// Stores positions, then tells the source; a source that can't be told now is told the next time.
    async fn save(&mut self, beside: &mut Beside<S::Position>) -> Result<()> {
        match self.store(&beside.unsaved).await {
            Ok(()) => {
                beside.storing = None;
                beside.untold.append(&mut beside.unsaved);
            }
            // A database that is down: the source goes on while its lease lasts, and the positions are stored later.
            Err(e) if self.offsets.is_shared() && e.exit == Exit::Unavailable => {
                tracing::warn!(code = e.code, "{}", e.message);
                self.status.error(e.code, e.message.clone());
                beside.storing = Some(e.message);
            }
            Err(e) => return Err(e),
        }
        while let Some((partition, position)) = beside.untold.pop_first() {
            let Err(failure) = self.source.commit(&partition, &position).await else {
                continue;
            };
            if !failure.is_retryable() {
                return Err(stopped(&failure));
            }
            tracing::warn!(code = %failure.code, %partition, "the source can't be told its offset now: {}", failure.message);
            self.status.error(failure.code, failure.message);
            beside.untold.insert(partition, position);
            break;
        }
        Ok(())
    }

    /// Stores what is left, trying again until `end`.
    async fn save_last(&mut self, beside: &mut Beside<S::Position>, end: tokio::time::Instant) -> Result<()> {
        loop {
            self.save(beside).await?;
            match beside.storing.take() {
                None => return Ok(()),
                Some(reason) if tokio::time::Instant::now() > end => return Err(Error::undelivered("OC0212", reason)),
                Some(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// Stores positions; they are durable when it returns.
    async fn store(&mut self, positions: &BTreeMap<Partition, S::Position>) -> Result<()> {
        if positions.is_empty() {
            return Ok(());
        }
        let mut rows: Vec<(String, serde_json::Value)> = Vec::with_capacity(positions.len());
        for (partition, position) in positions {
            let json = serde_json::to_value(position)
                .map_err(|e| Error::undelivered("OC0492", format!("a position can't be stored: {e}; this is a bug")))?;
            rows.push((partition.as_str().to_owned(), json));
        }
        reach(Failpoint::BeforeOffset);
        let stored = self.offsets.commit(&rows, self.lease.fence()).await?;
        reach(Failpoint::BeforeCommit);
        if !stored {
            return Err(self.lease.taken());
        }
        for (partition, json) in rows {
            self.status.set_position(&partition, json);
        }
        Ok(())
    }
}

/// As the event is, but for the defects that the proof of delivery plants.
fn damaged(mut event: Arc<Event>) -> Arc<Event> {
    if planted(Defect::FreshId) {
        Arc::make_mut(&mut event).set_id(uuid::Uuid::new_v4().to_string());
    }
    if planted(Defect::AlteredPayload) && event.id().ends_with('7') {
        Arc::make_mut(&mut event).set_data_unchecked(b"{}".to_vec());
    }
    event
}

fn stopped(failure: &Failure) -> Error {
    Error::undelivered("OC0421", format!("the connector can't go on: {failure}"))
        .hint("Mend the cause and start again: what is undelivered is read again then.")
}
