//! The resolver: learns how every event of a source ended. It answers receipts, writes dead letters, and tells the worker how
//! far each partition has come.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use cloudevents::Event;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use openconnect_error::codes::TASK_ENDED;
use openconnect_fault::{Defect, Failpoint, planted, reach};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::prefix::Prefix;
use crate::admin::StatusHandle;
use crate::budget::Reservation;
use crate::codes;
use crate::dead_letter::DeadLetters;
use crate::engine::circuit::Circuit;
use crate::engine::payload::Payload;
use crate::engine::retry::RetryPolicy;
use crate::failure::{Failure, FailureKind};
use crate::mesh::{Publisher, Refused, Told};
use crate::outcome::{Outcome, Receipt};
use crate::record::Partition;

/// Events without an outcome, at the most; their bytes are bounded by the budget.
const WINDOW: usize = 16_384;
/// Results of the mesh client that are taken at once.
const RESULT_BATCH: usize = 256;

/// An event on its way: how it ends, and who is told.
pub(super) struct Pending<P> {
    pub(super) ending: Ending,
    pub(super) open: Open<P>,
}

/// How an event ends.
pub(super) enum Ending {
    /// As the mesh client tells by its number.
    Published,
    Filtered,
    /// There was no event.
    Nothing,
    /// A transform failed on it.
    Rejected(Failure, Arc<Event>),
    /// No mesh takes it.
    Refused(Failure, Arc<Event>),
}

/// What is kept of a record until its outcome: its number among all, which rises by one from record to record, who is told, and
/// its memory.
pub(super) struct Open<P> {
    pub(super) number: u64,
    pub(super) partition: Partition,
    pub(super) position: Option<P>,
    pub(super) receipt: Option<Receipt>,
    /// When it was handed to the mesh client.
    pub(super) published: Instant,
    pub(super) _reservation: Reservation,
}

/// How far a partition has come, or why the worker must stop.
pub(super) enum Progress<P> {
    Reached(Partition, P),
    Stop(Failure),
}

/// The resolver's channel closed, and nobody had ended the resolver.
pub(super) fn ended_abnormally() -> Failure {
    Failure::fatal(TASK_ENDED, "the task that follows outcomes ended abnormally; this is a bug")
}

/// An event in the window, and its number in its partition.
struct Held<P> {
    open: Open<P>,
    place: u64,
}

/// A dead letter that was written, or why it can't be.
type Put<P> = Pin<Box<dyn Future<Output = (Held<P>, Failure, Result<(), Failure>)> + Send>>;

pub(super) struct Resolver<P> {
    dead_letters: Arc<DeadLetters>,
    publisher: Publisher,
    retry: RetryPolicy,
    circuit: Circuit,
    /// Does the caller of a request that fails still have its events?
    callers_keep_events: bool,
    status: StatusHandle,
    progress: mpsc::Sender<Progress<P>>,
    window: Window<P>,
    prefixes: HashMap<Partition, Prefix<P>>,
    /// How far partitions have come, not yet told.
    reached: BTreeMap<Partition, P>,
    puts: FuturesUnordered<Put<P>>,
    /// When the results that are being looked at were taken.
    now: Instant,
}

/// The events that were published and whose end is not known, by number.
struct Window<P> {
    first: u64,
    /// None: its end is known.
    slots: VecDeque<Option<Held<P>>>,
    open: usize,
    /// Ends of events that are not here yet: they are handed over after they are published.
    early: BTreeMap<u64, Result<(), Box<Refused>>>,
}

impl<P> Window<P> {
    fn hold(&mut self, held: Held<P>) {
        let number = held.open.number;
        if self.slots.is_empty() {
            self.first = number;
        }
        // Those between were not published.
        while self.first + (self.slots.len() as u64) < number {
            self.slots.push_back(None);
        }
        self.slots.push_back(Some(held));
        self.open += 1;
    }

    fn take(&mut self, number: u64) -> Option<Held<P>> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let held = self.slots.get_mut(at)?.take()?;
        self.open -= 1;
        while self.slots.pop_front_if(|slot| slot.is_none()).is_some() {
            self.first += 1;
        }
        Some(held)
    }
}

impl<P: Clone + Send + 'static> Resolver<P> {
    pub(super) fn new(
        dead_letters: Arc<DeadLetters>,
        publisher: Publisher,
        (retry, circuit): (RetryPolicy, Circuit),
        callers_keep_events: bool,
        status: StatusHandle,
        progress: mpsc::Sender<Progress<P>>,
    ) -> Self {
        Self {
            dead_letters,
            publisher,
            retry,
            circuit,
            callers_keep_events,
            status,
            progress,
            window: Window {
                first: 0,
                slots: VecDeque::new(),
                open: 0,
                early: BTreeMap::new(),
            },
            prefixes: HashMap::new(),
            reached: BTreeMap::new(),
            puts: FuturesUnordered::new(),
            now: Instant::now(),
        }
    }

    /// Runs until `queue` is closed and every event of it has its outcome, or until one can't have any.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Vec<Pending<P>>>, mut told: mpsc::UnboundedReceiver<Told>) {
        let mut ends = Vec::with_capacity(RESULT_BATCH);
        let mut more = true;
        while more || self.window.open > 0 || !self.puts.is_empty() {
            let step = tokio::select! {
                biased;
                count = told.recv_many(&mut ends, RESULT_BATCH), if self.window.open > 0 => match count {
                    0 => Err(Failure::fatal(TASK_ENDED, "the mesh client has left events without an end; this is a bug")),
                    _ => {
                        self.now = Instant::now();
                        ends.drain(..).try_for_each(|told| self.ended(told))
                    }
                },
                Some((held, failure, put)) = self.puts.next() => put.map(|()| self.dead_lettered(held, failure)),
                pending = queue.recv(), if more && self.window.slots.len() + self.puts.len() < WINDOW => match pending {
                    Some(pending) => pending.into_iter().try_for_each(|pending| self.begin(pending)),
                    None => {
                        more = false;
                        Ok(())
                    }
                },
            };
            self.tell_progress().await;
            if let Err(failure) = step {
                self.status.error(failure.code, failure.reason());
                let _ = self.progress.send(Progress::Stop(failure)).await;
                return;
            }
        }
    }

    async fn tell_progress(&mut self) {
        while let Some((partition, position)) = self.reached.pop_first() {
            if self.prefixes.get(&partition).is_some_and(Prefix::is_empty) {
                self.prefixes.remove(&partition);
            }
            let _ = self.progress.send(Progress::Reached(partition, position)).await;
        }
    }

    fn begin(&mut self, Pending { ending, mut open }: Pending<P>) -> Result<(), Failure> {
        if planted(Defect::ReceiptBeforeConfirmation)
            && let Some(receipt) = open.receipt.take()
        {
            receipt.resolve(Outcome::Delivered);
        }
        if planted(Defect::OffsetBeforeAck)
            && let Some(position) = open.position.clone()
        {
            let _ = self.progress.try_send(Progress::Reached(open.partition.clone(), position));
        }
        let place = self.prefixes.entry(open.partition.clone()).or_insert_with(Prefix::new).begin();
        let (number, held) = (open.number, Held { open, place });
        match ending {
            Ending::Published => {
                self.window.hold(held);
                if let Some(result) = self.window.early.remove(&number) {
                    self.ended(Told { number, result })?;
                }
            }
            Ending::Filtered => {
                self.status.counts().filtered.fetch_add(1, Relaxed);
                self.settle(held, Outcome::Filtered);
            }
            Ending::Nothing => self.move_on(held),
            Ending::Rejected(failure, event) => self.rejected(held, Payload::Event(event), failure)?,
            Ending::Refused(failure, event) => self.refused(held, failure, || Payload::Event(event))?,
        }
        Ok(())
    }

    /// The mesh client has told how an event ended.
    fn ended(&mut self, Told { number, result }: Told) -> Result<(), Failure> {
        let Some(held) = self.window.take(number) else {
            self.window.early.insert(number, result);
            return Ok(());
        };
        let Err(refused) = result else {
            reach(Failpoint::Published);
            self.circuit.note(false);
            self.status.counts().delivered.fetch_add(1, Relaxed);
            self.status.observe_write(self.now.saturating_duration_since(held.open.published));
            self.settle(held, Outcome::Delivered);
            return Ok(());
        };
        if refused.failure.kind != FailureKind::Permanent {
            return Err(self.failed(held, refused.failure));
        }
        let publisher = self.publisher.clone();
        let Refused { failure, body } = *refused;
        self.refused(held, failure, || match publisher.decode(&body) {
            Ok(event) => Payload::Event(Arc::new(event)),
            Err(error) => Payload::Unreadable(
                body.into(),
                Failure::permanent(codes::EVENT_UNREADABLE, "a refused event can't be read back").because(error),
            ),
        })
    }

    /// The mesh takes the event never: whoever has sent it and still has it is told, else its dead letter is begun.
    fn refused(&mut self, held: Held<P>, failure: Failure, event: impl FnOnce() -> Payload) -> Result<(), Failure> {
        let is_kept = self.callers_keep_events && held.open.receipt.as_ref().is_some_and(Receipt::keeps_event);
        if !is_kept {
            return self.rejected(held, event(), failure);
        }
        self.status.counts().failed.fetch_add(1, Relaxed);
        self.status.error(failure.code, failure.reason());
        self.settle(held, Outcome::Failed(failure));
        Ok(())
    }

    /// The event will never be taken: its dead letter is begun.
    fn rejected(&mut self, held: Held<P>, event: Payload, failure: Failure) -> Result<(), Failure> {
        // The client tries again by itself for as long as it lives: what it gives up ends the connector.
        if failure.kind != FailureKind::Permanent {
            return Err(self.failed(held, failure));
        }
        if self.circuit.note(true) {
            return Err(Failure::fatal(
                codes::TOO_MANY_DEAD_LETTERS,
                format!("{}; the last reason", self.circuit.describe()),
            )
            .because(failure));
        }
        let (dead_letters, retry, status) = (Arc::clone(&self.dead_letters), self.retry, self.status.clone());
        self.puts.push(Box::pin(async move {
            let put = retry.put_dead_letter(&dead_letters, &event, &failure, 1, &status).await;
            (held, failure, put)
        }));
        Ok(())
    }

    fn dead_lettered(&mut self, held: Held<P>, failure: Failure) {
        self.status.counts().dead_lettered.fetch_add(1, Relaxed);
        tracing::warn!(code = %failure.code, "dead letter: {}", failure.reason());
        self.settle(held, Outcome::DeadLettered(failure));
    }

    fn failed(&self, mut held: Held<P>, failure: Failure) -> Failure {
        self.status.counts().failed.fetch_add(1, Relaxed);
        self.status.resolved(1);
        if let Some(receipt) = held.open.receipt.take() {
            receipt.resolve(Outcome::Failed(failure.clone()));
        }
        failure
    }

    /// The event has its outcome: who waits is told, and its partition may move on.
    fn settle(&mut self, mut held: Held<P>, outcome: Outcome) {
        self.status.resolved(1);
        if let Some(receipt) = held.open.receipt.take() {
            receipt.resolve(outcome);
        }
        self.move_on(held);
    }

    fn move_on(&mut self, Held { open, place }: Held<P>) {
        let prefix = self.prefixes.get_mut(&open.partition);
        if let Some(position) = prefix.and_then(|prefix| prefix.resolve(place, open.position)) {
            self.reached.insert(open.partition, position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;

    fn held(budget: &Budget, number: u64) -> Held<u64> {
        let open = Open {
            number,
            partition: Partition::new("p"),
            position: Some(number),
            receipt: None,
            published: Instant::now(),
            _reservation: budget.try_acquire(1).expect("there is room"),
        };
        Held { open, place: number }
    }

    #[test]
    fn the_window_gives_each_event_once_in_any_order_and_forgets_the_others() {
        let budget = Budget::with_bytes(1 << 20);
        let mut window = Window {
            first: 0,
            slots: VecDeque::new(),
            open: 0,
            early: BTreeMap::new(),
        };
        // 2 was filtered.
        for number in [0, 1, 3] {
            window.hold(held(&budget, number));
        }
        for number in [3, 0, 1] {
            assert!(window.take(2).is_none());
            assert_eq!(window.take(number).map(|held| held.open.number), Some(number));
            assert!(window.take(number).is_none(), "a second end of {number}");
        }
        assert_eq!((window.open, window.slots.len()), (0, 0));
        window.hold(held(&budget, 9));
        assert!(window.take(9).is_some());
    }
}
