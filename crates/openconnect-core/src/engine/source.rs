//! The source worker: polls, publishes in a bounded window, and moves offsets over the contiguous prefix of what the mesh
//! has confirmed.
//!
//! Two tasks. The worker owns the source: it polls, hands each event to the mesh client in order, stores offsets and tells
//! the source. The resolver owns everything that waits for an outcome: it answers receipts, writes dead letters, and tells
//! the worker how far each partition has come.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use cloudevents::Event;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use openconnect_protocol::payload;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::circuit::Circuit;
use super::prefix::Prefix;
use super::retry::RetryPolicy;
use crate::admin::{State, StatusHandle};
use crate::budget::{Budget, Permit};
use crate::dead_letter::DeadLetters;
use crate::error::{Error, Exit, Result};
use crate::failure::{Failure, FailureKind};
use crate::mesh::{MeshStatus, Publisher};
use crate::offsets::OffsetStore;
use crate::record::{Outcome, Partition, Receipt, Record};
use crate::source::Source;
use crate::transform::{KeyExpression, Transformed, Transforms};

/// Events that wait for the mesh, at the most; their bytes are bounded by the budget.
const WINDOW: usize = 16_384;

/// What a worker is made of.
pub(crate) struct SourceWorker<S> {
    pub(crate) source: S,
    pub(crate) publisher: Publisher,
    pub(crate) topic: String,
    pub(crate) transforms: Transforms,
    pub(crate) key: KeyExpression,
    pub(crate) budget: Budget,
    pub(crate) max_event_bytes: usize,
    pub(crate) offsets: Arc<OffsetStore>,
    pub(crate) flush_interval: Duration,
    pub(crate) status: StatusHandle,
    pub(crate) shutdown: CancellationToken,
    pub(crate) deadline: Duration,
}

/// An event on its way: how it ends, and who is told.
struct Pending<P> {
    ending: Ending,
    partition: Partition,
    position: Option<P>,
    receipt: Option<Receipt>,
    permit: Permit,
}

/// How an event ends.
enum Ending {
    Published(crate::mesh::Published, Arc<Event>),
    Filtered,
    Rejected(Failure, Arc<Event>),
}

/// How far a partition has come, or why the worker must stop.
enum Progress<P> {
    Reached(Partition, P),
    Stop(Failure),
}

impl<S: Source> SourceWorker<S> {
    /// Runs until shutdown or until nothing can go on.
    pub(crate) async fn run(mut self, dead_letters: Arc<DeadLetters>, retry: RetryPolicy, circuit: Circuit) -> Result<Exit> {
        let (pending, queue) = mpsc::channel(WINDOW);
        let (progress, mut reached) = mpsc::channel(1024);
        let resolver = Resolver {
            dead_letters,
            retry,
            circuit,
            status: self.status.clone(),
            progress,
            prefixes: HashMap::new(),
        };
        let resolver = tokio::spawn(resolver.run(queue));
        let mut unsaved = BTreeMap::new();
        let mut flush = tokio::time::interval(self.flush_interval);
        let mut mesh = self.publisher.status();
        let ended = loop {
            self.show(&mesh.borrow_and_update().clone());
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => break Ok(()),
                Some(progress) = reached.recv() => match progress {
                    Progress::Reached(partition, position) => { unsaved.insert(partition, position); }
                    Progress::Stop(failure) => break Err(stopped(&failure)),
                },
                _ = flush.tick() => self.save(&mut unsaved).await?,
                Ok(()) = mesh.changed() => {}
                records = self.source.poll() => {
                    let records = records?;
                    self.status.counts().received.fetch_add(records.len() as u64, Relaxed);
                    // While the window is full, outcomes still come in: `reached` has room for more than the window turns
                    // over between two polls, and the resolver waits when it has none.
                    if let Some(failure) = self.publish(records, &pending, &mut reached, &mut unsaved).await {
                        break Err(stopped(&failure));
                    }
                }
            }
        };
        self.status.set_state(State::Draining);
        drop(pending);
        let drained = self.drain(&mut reached, &mut unsaved).await;
        resolver.abort();
        self.save(&mut unsaved).await?;
        let closed = self.source.close().await;
        self.publisher.close().await;
        ended?;
        closed?;
        if drained { Ok(Exit::Clean) } else { Ok(Exit::Undelivered) }
    }

    fn show(&self, mesh: &MeshStatus) {
        self.status.set_state(match mesh {
            MeshStatus::Connected => State::Running,
            MeshStatus::Disconnected { reason } => State::Blocked(format!("no session with the mesh: {reason}")),
            MeshStatus::Refusing { reason } => State::Blocked(format!("the mesh refuses events: {reason}")),
        });
    }

    /// Publishes records in order. Waiting for room goes on being interrupted by shutdown and by outcomes.
    async fn publish(
        &mut self,
        records: Vec<Record<S::Position>>,
        pending: &mpsc::Sender<Pending<S::Position>>,
        reached: &mut mpsc::Receiver<Progress<S::Position>>,
        unsaved: &mut BTreeMap<Partition, S::Position>,
    ) -> Option<Failure> {
        let this = &*self;
        let all = async {
            for record in records {
                let sent = this.start(record).await;
                if pending.send(sent).await.is_err() {
                    return;
                }
            }
        };
        tokio::pin!(all);
        loop {
            tokio::select! {
                () = &mut all => return None,
                // Records not yet handed over are dropped: their receipts say Failed, their offset does not move.
                () = this.shutdown.cancelled() => return None,
                Some(progress) = reached.recv() => match progress {
                    Progress::Reached(partition, position) => { unsaved.insert(partition, position); }
                    Progress::Stop(failure) => return Some(failure),
                },
            }
        }
    }

    async fn start(&self, record: Record<S::Position>) -> Pending<S::Position> {
        let Record {
            event,
            partition,
            position,
            receipt,
        } = record;
        let bytes = payload::bytes(&event).map_or(0, |data| data.len());
        let permit = self.budget.acquire(bytes).await;
        let ending = self.send(event, bytes).await;
        Pending {
            ending,
            partition,
            position,
            receipt,
            permit,
        }
    }

    async fn send(&self, event: Event, bytes: usize) -> Ending {
        if bytes > self.max_event_bytes {
            let reason = format!(
                "the event's data has {bytes} bytes, limits.max_event_bytes is {}",
                self.max_event_bytes
            );
            return Ending::Rejected(Failure::permanent("OC0403", reason), Arc::new(event));
        }
        let event = match self.transforms.apply(event) {
            Ok(Transformed::Keep(event)) => event,
            Ok(Transformed::Drop) => return Ending::Filtered,
            Err(rejected) => return Ending::Rejected(rejected.1, Arc::new(rejected.0)),
        };
        let key = self.key.key(&event);
        let published = self.publisher.send(&self.topic, key.as_deref(), &event).await;
        Ending::Published(published, Arc::new(event))
    }

    /// Stores positions, then tells the source.
    async fn save(&mut self, unsaved: &mut BTreeMap<Partition, S::Position>) -> Result<()> {
        if unsaved.is_empty() {
            return Ok(());
        }
        let positions = std::mem::take(unsaved);
        let mut rows = Vec::with_capacity(positions.len());
        for (partition, position) in &positions {
            let json = serde_json::to_value(position)
                .map_err(|e| Error::undelivered("OC0492", format!("a position can't be stored: {e}; this is a bug")))?;
            self.status.set_position(partition.as_str(), json.clone());
            rows.push((partition.as_str().to_owned(), json));
        }
        let store = Arc::clone(&self.offsets);
        tokio::task::spawn_blocking(move || {
            let rows: Vec<(&str, serde_json::Value)> = rows.iter().map(|(partition, json)| (partition.as_str(), json.clone())).collect();
            store.commit(&rows)
        })
        .await
        .map_err(|e| Error::undelivered("OC0490", format!("storing offsets ended abnormally: {e}")))??;
        for (partition, position) in &positions {
            self.source.commit(partition, position).await?;
        }
        Ok(())
    }

    /// Waits until the resolver has told all outcomes; false when the deadline came first or something failed.
    async fn drain(&self, reached: &mut mpsc::Receiver<Progress<S::Position>>, unsaved: &mut BTreeMap<Partition, S::Position>) -> bool {
        let outcomes = async {
            while let Some(progress) = reached.recv().await {
                match progress {
                    Progress::Reached(partition, position) => {
                        unsaved.insert(partition, position);
                    }
                    Progress::Stop(_) => return false,
                }
            }
            true
        };
        tokio::time::timeout(self.deadline, outcomes).await.unwrap_or(false)
    }
}

fn stopped(failure: &Failure) -> Error {
    Error::undelivered("OC0421", format!("the connector can't go on: {failure}"))
        .hint("Mend the cause and start again: what is undelivered is read again then.")
}

struct Resolver<P> {
    dead_letters: Arc<DeadLetters>,
    retry: RetryPolicy,
    circuit: Circuit,
    status: StatusHandle,
    progress: mpsc::Sender<Progress<P>>,
    prefixes: HashMap<Partition, Prefix<P>>,
}

type Waiting<P> = Pin<Box<dyn Future<Output = (Settled<P>, Result<(), Failure>)> + Send>>;

/// What is left of a pending event when its ending is known.
struct Settled<P> {
    number: u64,
    partition: Partition,
    position: Option<P>,
    receipt: Option<Receipt>,
    event: Option<Arc<Event>>,
    /// The failure whose dead letter is being written.
    dead: Option<Failure>,
    _permit: Permit,
}

impl<P: Send + 'static> Resolver<P> {
    async fn run(mut self, mut queue: mpsc::Receiver<Pending<P>>) {
        let mut waiting: FuturesUnordered<Waiting<P>> = FuturesUnordered::new();
        let mut open = true;
        while open || !waiting.is_empty() {
            tokio::select! {
                pending = queue.recv(), if open && waiting.len() < WINDOW => match pending {
                    Some(pending) => waiting.push(self.begin(pending)),
                    None => open = false,
                },
                Some((settled, result)) = waiting.next() => {
                    match self.settle(settled, result).await {
                        Ok(Some(again)) => waiting.push(again),
                        Ok(None) => {}
                        Err(failure) => {
                            self.status.error(failure.code.clone(), failure.message.clone());
                            let _ = self.progress.send(Progress::Stop(failure)).await;
                            return;
                        }
                    }
                }
            }
        }
    }

    fn begin(&mut self, pending: Pending<P>) -> Waiting<P> {
        let Pending {
            ending,
            partition,
            position,
            receipt,
            permit,
        } = pending;
        let number = self.prefixes.entry(partition.clone()).or_insert_with(Prefix::new).begin();
        let mut settled = Settled {
            number,
            partition,
            position,
            receipt,
            event: None,
            dead: None,
            _permit: permit,
        };
        match ending {
            Ending::Published(published, event) => {
                settled.event = Some(event);
                Box::pin(async move {
                    let result = published.await;
                    (settled, result)
                })
            }
            Ending::Filtered => Box::pin(async move { (settled, Ok(())) }),
            Ending::Rejected(failure, event) => {
                settled.event = Some(event);
                Box::pin(async move { (settled, Err(failure)) })
            }
        }
    }

    /// Ends an event, or starts the writing of its dead letter.
    async fn settle(&mut self, mut settled: Settled<P>, result: Result<(), Failure>) -> Result<Option<Waiting<P>>, Failure> {
        let counts = self.status.counts();
        let outcome = match (result, settled.dead.take(), &settled.event) {
            (Ok(()), Some(failure), _) => {
                counts.dead_lettered.fetch_add(1, Relaxed);
                tracing::warn!(code = %failure.code, "dead letter: {}", failure.message);
                Outcome::DeadLettered(failure)
            }
            (Ok(()), None, None) => {
                counts.filtered.fetch_add(1, Relaxed);
                Outcome::Filtered
            }
            (Ok(()), None, Some(_)) => {
                self.circuit.note(false);
                counts.delivered.fetch_add(1, Relaxed);
                Outcome::Delivered
            }
            (Err(failure), None, Some(event)) if failure.kind == FailureKind::Permanent => {
                if self.circuit.note(true) {
                    return Err(Failure::fatal(
                        "OC0420",
                        format!("{}; the last reason was {failure}", self.circuit.describe()),
                    ));
                }
                let event = Arc::clone(event);
                settled.dead = Some(failure.clone());
                return Ok(Some(self.dead_letter(settled, event, failure)));
            }
            (Err(failure), _, _) if failure.kind == FailureKind::Fatal => return Err(failure),
            (Err(failure), _, _) => {
                counts.failed.fetch_add(1, Relaxed);
                Outcome::Failed(failure)
            }
        };
        if let Some(receipt) = settled.receipt.take() {
            receipt.resolve(outcome.clone());
        }
        if !outcome.is_resolved() {
            return Ok(None);
        }
        let prefix = self.prefixes.get_mut(&settled.partition);
        if let Some(position) = prefix.and_then(|prefix| prefix.resolve(settled.number, settled.position)) {
            let _ = self.progress.send(Progress::Reached(settled.partition, position)).await;
        }
        Ok(None)
    }

    fn dead_letter(&self, settled: Settled<P>, event: Arc<Event>, failure: Failure) -> Waiting<P> {
        let (dead_letters, retry, status) = (Arc::clone(&self.dead_letters), self.retry, self.status.clone());
        Box::pin(async move {
            let mut tries = 0;
            loop {
                match dead_letters.put(&event, &failure, 1).await {
                    Err(e) if e.kind != FailureKind::Fatal => {
                        tries += 1;
                        status.error(e.code.clone(), format!("a dead letter can't be written: {}", e.message));
                        tokio::time::sleep(retry.wait(tries, &e)).await;
                    }
                    result => return (settled, result),
                }
            }
        })
    }
}
