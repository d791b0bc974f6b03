//! The source worker: starts a source's tasks, and stops them in order.
//!
//! | task | what it does |
//! |---|---|
//! | reading | calls `read`; its records go through a bounded queue |
//! | publishing | transforms, and hands events to the mesh client |
//! | resolving | answers receipts, writes dead letters, tells how far each partition has come |
//! | worker | stores offsets (`tracker.rs`), watches mesh and lease, stops the others |
//! | committing | tells the source's system what is durable |
//!
//! With an input, its task gives events to the source, see `input.rs`. With a spool its tasks are between reading and publishing, see `spool/`.

use std::sync::Arc;
use std::time::Duration;

use openconnect_error::codes::TASK_ENDED;
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::accepting::Accepting;
use super::committing::{self, Positions};
use super::input::{InputLeft, InputTasks, PreparedInput};
use super::lease::Lease;
use super::outbound::{Outbound, OutboundTasks};
use super::reader;
use super::spool::{self, FirstSession, Spool, SpoolTasks};
use super::tracker::{PositionTracker, Turn};
use crate::admin::{State, StatusHandle};
use crate::budget::Budget;
use crate::codes;
use crate::engine::retry::RetryPolicy;
use crate::error::{Error, Exit, Result};
use crate::failure::Failure;
use crate::mesh::Publisher;
use crate::offsets::OffsetStore;
use crate::source::{EMIT_QUEUE, Emitter, Source};

/// Steps of partitions on their way to the worker, at the most.
const PROGRESS_QUEUE: usize = 1024;
/// The time that the committer gets at shutdown, when draining has taken all of the deadline.
const LAST_COMMIT: Duration = Duration::from_secs(2);

/// What a worker is made of.
pub(crate) struct SourceWorker<S: Source> {
    pub(crate) source: S,
    pub(crate) committer: S::Committer,
    pub(crate) publisher: Publisher,
    pub(super) outbound: Outbound,
    /// What takes the events in place of the mesh, and the first session with the mesh, which it does not wait for.
    pub(super) spool: Option<(Spool, FirstSession)>,
    pub(super) input: Option<PreparedInput>,
    pub(super) accepting: Accepting,
    pub(crate) budget: Budget,
    pub(crate) offsets: Arc<dyn OffsetStore>,
    pub(crate) lease: Lease,
    pub(crate) flush_interval: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) status: StatusHandle,
    pub(crate) shutdown: CancellationToken,
    pub(crate) deadline: Duration,
}

/// The tasks beside the worker. They are aborted when this is dropped.
struct Tasks<S> {
    reading: AbortOnDropHandle<ReadEnd<S>>,
    stop_reading: CancellationToken,
    delivering: Delivering,
    committing: AbortOnDropHandle<Outcome>,
    input: Option<InputTasks>,
}

/// The tasks between the source and the mesh.
enum Delivering {
    Direct(OutboundTasks),
    Spooled { intake: AbortOnDropHandle<()>, tasks: SpoolTasks },
}

impl Delivering {
    /// Ends the tasks, whatever is left. Gives the number of events that stay in the spool, and false when one had ended
    /// abnormally.
    async fn stop(self) -> (u64, bool) {
        match self {
            Self::Direct(tasks) => (0, tasks.stop().await),
            Self::Spooled { intake, tasks } => {
                intake.abort();
                // Its receipts are dropped with it, before the spool is closed.
                let _ = intake.await;
                tasks.close().await
            }
        }
    }
}

/// Why a task can't go on.
type Outcome = std::result::Result<(), Failure>;
/// What the reading task gives back.
type ReadEnd<S> = (S, Outcome);

/// What made the worker stop.
enum End<S> {
    Shutdown,
    /// The reading task has ended.
    Read(std::result::Result<ReadEnd<S>, JoinError>),
    /// The committing task has ended, which it does for a failure only.
    Committed(std::result::Result<Outcome, JoinError>),
    /// The input can't go on, or is empty and takes nothing new.
    Input,
    Failed(Error),
}

impl<S> End<S> {
    /// Was a write to the source's own store refused, because another process has the lease?
    fn lost_lease(&self) -> bool {
        let failure = match self {
            Self::Read(Ok((_, Err(failure)))) | Self::Committed(Ok(Err(failure))) => failure,
            _ => return false,
        };
        failure.code == codes::LEASE_TAKEN
    }
}

/// What closes the connector, once its tasks run.
struct Closing {
    publisher: Publisher,
    status: StatusHandle,
    shutdown: CancellationToken,
    deadline: Duration,
}

impl<S: Source> SourceWorker<S> {
    /// Runs until shutdown, until the source has finished, or until nothing can go on.
    pub(crate) async fn run(self) -> Result<Exit> {
        let (mut tasks, mut tracker, closing) = self.start();
        let end = follow(&mut tasks, &mut tracker, &closing.shutdown).await;
        let lost = end.lost_lease().then(|| tracker.lease.taken());
        if let Some(lost) = lost.or_else(|| tracker.lease.lost()) {
            // What is on its way is the successor's now: nothing more is published, waited for or stored.
            return Err(lost);
        }
        closing.close(end, tasks, tracker).await
    }

    fn start(self) -> (Tasks<S>, PositionTracker<S::Position>, Closing) {
        let (committer, commits) = mpsc::channel::<Positions<S::Position>>(1);
        let (progress, reached) = mpsc::channel(PROGRESS_QUEUE);
        let (out, records, source_trouble) = Emitter::new(self.budget, self.status.clone(), EMIT_QUEUE);
        let stop_reading = CancellationToken::new();
        let delivering = match self.spool {
            None => Delivering::Direct(self.outbound.start(self.lease.watch(), records, progress)),
            Some((spool, session)) => {
                let (tasks, intake) = spool.start(self.outbound, self.lease.watch(), session, progress);
                let intake = AbortOnDropHandle::new(tokio::spawn(intake.run(records)));
                Delivering::Spooled { intake, tasks }
            }
        };
        let input_trouble = match &self.input {
            Some(input) => input.troubles(),
            None => tokio::sync::watch::channel(None).1,
        };
        let reading = reader::read(self.source, out, self.retry, self.status.clone(), stop_reading.clone());
        let committing = committing::commit(self.committer, commits, self.retry, self.status.clone());
        let tasks = Tasks {
            reading: AbortOnDropHandle::new(tokio::spawn(reading)),
            stop_reading,
            delivering,
            committing: AbortOnDropHandle::new(tokio::spawn(committing)),
            input: self.input.map(PreparedInput::start),
        };
        let tracker = PositionTracker {
            reached,
            unsaved: Positions::new(),
            uncommitted: Positions::new(),
            committer,
            flush: tokio::time::interval(self.flush_interval),
            offsets: self.offsets,
            lease_watch: self.lease.watch(),
            lease: self.lease,
            accepting: self.accepting,
            source_trouble,
            input_trouble,
            store_trouble: None,
            status: self.status.clone(),
        };
        let closing = Closing {
            publisher: self.publisher,
            status: self.status,
            shutdown: self.shutdown,
            deadline: self.deadline,
        };
        (tasks, tracker, closing)
    }
}

/// Stores positions until something ends.
async fn follow<S: Source>(tasks: &mut Tasks<S>, tracker: &mut PositionTracker<S::Position>, shutdown: &CancellationToken) -> End<S> {
    loop {
        let turn = tokio::select! {
            biased;
            () = shutdown.cancelled() => return End::Shutdown,
            read = &mut tasks.reading => return End::Read(read),
            committed = &mut tasks.committing => return End::Committed(committed),
            () = input_ended(&mut tasks.input) => return End::Input,
            turn = tracker.next() => turn,
        };
        match turn {
            Turn::Stop(failure) => return End::Failed(stopped(failure)),
            Turn::Save => {
                if let Err(e) = tracker.save().await {
                    return End::Failed(e);
                }
            }
        }
    }
}

/// Never ends when there is no input. Cancel-safe.
async fn input_ended(input: &mut Option<InputTasks>) {
    match input {
        Some(input) => input.ended().await,
        None => std::future::pending().await,
    }
}

impl Closing {
    /// Stops reading, waits for outcomes, stores and commits the last positions, and closes what is open.
    async fn close<S: Source>(self, end: End<S>, mut tasks: Tasks<S>, mut tracker: PositionTracker<S::Position>) -> Result<Exit> {
        self.status.set_state(State::Draining);
        let deadline = Instant::now() + self.deadline;
        if let Some(input) = &tasks.input {
            input.stop_intake();
        }
        tasks.stop_reading.cancel();
        let can_commit = !matches!(end, End::Committed(_));
        let (source, ended) = match end {
            End::Read(read) => source_of(read),
            End::Shutdown | End::Input => (stop(&mut tasks.reading, deadline).await, Ok(())),
            End::Committed(committed) => (stop(&mut tasks.reading, deadline).await, Err(stopped(commit_failure(committed)))),
            End::Failed(error) => (stop(&mut tasks.reading, deadline).await, Err(error)),
        };
        let drained = tracker.drain(deadline).await;
        let (left, fine) = tasks.delivering.stop().await;
        // Every answer has its outcome now, or will have none in this run.
        let input = match tasks.input {
            Some(input) => input.close().await,
            None => InputLeft::nothing(),
        };
        let saved = tracker.save_last(deadline).await;
        let PositionTracker {
            committer,
            uncommitted,
            lease,
            ..
        } = tracker;
        let committed = if can_commit {
            commit_last(committer, uncommitted, tasks.committing, deadline).await
        } else {
            Ok(())
        };
        let closed = match source {
            Some(source) => source.close().await,
            None => Ok(()),
        };
        self.publisher.close().await;
        lease.release().await;
        ended.and(input.result.map_err(stopped)).and(saved).and(committed).and(closed)?;
        if input.events > 0 {
            tracing::warn!(
                events = input.events,
                "stopped with events of the input that are not answered; they are kept and answered after the next start"
            );
        }
        Ok(match left {
            0 if drained && fine && input.events == 0 => Exit::Clean,
            0 => Exit::Undelivered,
            left => spool::undelivered(left),
        })
    }
}

/// The source, once its `read` is dropped. None when it keeps its thread until the deadline.
async fn stop<S: Source>(reading: &mut AbortOnDropHandle<ReadEnd<S>>, deadline: Instant) -> Option<S> {
    match timeout_at(deadline, reading).await {
        Ok(read) => source_of(read).0,
        Err(_) => {
            tracing::warn!("the source does not stop reading; it is not closed");
            None
        }
    }
}

fn source_of<S>(read: std::result::Result<ReadEnd<S>, JoinError>) -> (Option<S>, Result<()>) {
    match read {
        Ok((source, outcome)) => (Some(source), outcome.map_err(stopped)),
        Err(e) => (None, Err(stopped(crashed("reads the source", e)))),
    }
}

/// Lets the committer end with the last positions.
async fn commit_last<P>(
    committer: mpsc::Sender<Positions<P>>,
    last: Positions<P>,
    committing: AbortOnDropHandle<Outcome>,
    deadline: Instant,
) -> Result<()> {
    let commits = async move {
        if !last.is_empty() {
            // It has failed when it is gone, and says so below.
            let _ = committer.send(last).await;
        }
        drop(committer);
        committing.await
    };
    let deadline = deadline.max(Instant::now() + LAST_COMMIT);
    match timeout_at(deadline, commits).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(committed) => Err(stopped(commit_failure(committed))),
        Err(_) => {
            tracing::warn!("the last positions could not be committed in time; they are durable, and come again after the next start");
            Ok(())
        }
    }
}

fn commit_failure(committed: std::result::Result<Outcome, JoinError>) -> Failure {
    match committed {
        Ok(Err(failure)) => failure,
        Ok(Ok(())) => Failure::fatal(TASK_ENDED, "the task that commits positions ended by itself; this is a bug"),
        Err(e) => crashed("commits positions", e),
    }
}

fn crashed(what: &str, error: JoinError) -> Failure {
    Failure::fatal(TASK_ENDED, format!("the task that {what} ended abnormally; this is a bug")).because(error)
}

pub(super) fn stopped(failure: Failure) -> Error {
    Error::undelivered(codes::CANNOT_CONTINUE, "the connector can't go on")
        .because(failure)
        .hint("Mend the cause and start again: what is undelivered is read again then.")
}
