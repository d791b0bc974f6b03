//! The worker of a staging sink: one task owns all state, starts the sink's calls as tasks, and learns their results as messages.
//!
//! Each group has a lane of generations, the oldest first. All of them take events in; only the first of a lane is sealed. What
//! is done for a generation is done by one task at a time.
//!
//! | file | what is in it |
//! |---|---|
//! | `mod.rs` | the loop, what comes in, what is started, shutdown |
//! | `stage.rs` | batches to the sink, and what becomes of them; dead letters |
//! | `seal.rs` | the end of a generation, and its parts |
//! | `settle.rs` | checkpoint and records behind a seal; reading entries once more |

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use openconnect_error::codes::TASK_ENDED;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::feed::{Decoded, Entry, Preparer};
use super::generation::{Generation, Phase};
use super::groups::{Arrival, Groups, Now};
use super::records::{Chain, Records, SealRecord};
use super::sealing::{SealResult, Sealer};
use crate::admin::{State, StatusHandle};
use crate::codes;
use crate::dead_letter::DeadLetters;
use crate::engine::circuit::Circuit;
use crate::engine::exit_of_sink;
use crate::engine::payload::Payload;
use crate::engine::retry::RetryPolicy;
use crate::error::{Exit, Result};
use crate::failure::{Failure, FailureKind};
use crate::inbox::{Entries, Inbox, epoch_ms, now_ms};
use crate::sink::WriteReport;
use crate::staging::{AtShutdown, Group, Sealed, StagingProfile, StagingSink};

mod seal;
mod settle;
mod stage;

/// How often rules and retries are looked at, the checkpoint is written and the status refreshed.
const TICK: Duration = Duration::from_millis(100);

/// Reads entries of the inbox once more.
pub(super) type Reread = Box<dyn Fn(&Inbox, &[(u64, u64)]) -> Result<Entries<Decoded>> + Send>;

/// What a worker is made of.
pub(super) struct WorkerParts<S> {
    pub(super) sink: Arc<S>,
    pub(super) profile: StagingProfile,
    /// Is only one generation at a time worked on, in all?
    pub(super) total: bool,
    pub(super) retry: RetryPolicy,
    pub(super) circuit: Circuit,
    pub(super) dead_letters: Arc<DeadLetters>,
    pub(super) inbox: Inbox,
    pub(super) records: Arc<Records>,
    /// What another run left.
    pub(super) chains: Vec<Chain>,
    pub(super) reread: Reread,
    pub(super) preparer: Preparer,
    pub(super) status: StatusHandle,
    pub(super) shutdown: CancellationToken,
    pub(super) deadline: Duration,
}

/// What a task has done for a generation.
enum TaskResult {
    Staged(u64, WriteReport, Duration),
    Asked(u64, std::result::Result<Sealed, SealResult>),
    Sealed(u64, SealResult),
    Settled(u64, Result<(), Failure>),
}

/// A part of a generation that is read once more; none at its end.
type RereadChunk = (u64, Option<Result<Vec<Entry>>>);

pub(super) struct Worker<S> {
    parts: WorkerParts<S>,
    sealer: Sealer<S>,
    groups: Groups,
    generations: HashMap<u64, Generation>,
    lanes: HashMap<Group, VecDeque<u64>>,
    /// Generations that are to be looked at.
    work: BTreeSet<u64>,
    chains: HashMap<Arc<str>, Chain>,
    jobs: JoinSet<TaskResult>,
    dead_letter_tasks: JoinSet<(u64, Entry, Failure, Result<(), Failure>)>,
    rereads: JoinSet<()>,
    reread_chunks: (mpsc::Sender<RereadChunk>, mpsc::Receiver<RereadChunk>),
    /// Generations whose entries are resolved, waiting for a checkpoint.
    resolved: Vec<u64>,
    /// The checkpoint that is being written, and the generations that it covers.
    checkpoint: Option<(oneshot::Receiver<()>, Vec<u64>)>,
    /// With ordering `total`: events whose group may not begin yet.
    waiting: VecDeque<(Group, Entry)>,
    paused_until: Option<Instant>,
    started: Instant,
    failing: Arc<AtomicBool>,
    draining: bool,
    intake_ended: bool,
}

impl<S: StagingSink> Worker<S> {
    pub(super) fn new(mut parts: WorkerParts<S>) -> Self {
        let failing = Arc::new(AtomicBool::new(false));
        let sealer = Sealer {
            sink: Arc::clone(&parts.sink),
            records: Arc::clone(&parts.records),
            retry: parts.retry,
            status: parts.status.clone(),
            failing: Arc::clone(&failing),
            draining: parts.shutdown.clone(),
        };
        let recovered = std::mem::take(&mut parts.chains);
        let mut worker = Self {
            groups: Groups::new(parts.profile.rules.clone()),
            sealer,
            parts,
            generations: HashMap::new(),
            lanes: HashMap::new(),
            work: BTreeSet::new(),
            chains: HashMap::new(),
            jobs: JoinSet::new(),
            dead_letter_tasks: JoinSet::new(),
            rereads: JoinSet::new(),
            reread_chunks: mpsc::channel(1),
            resolved: Vec::new(),
            checkpoint: None,
            waiting: VecDeque::new(),
            paused_until: None,
            started: Instant::now(),
            failing,
            draining: false,
            intake_ended: false,
        };
        recovered.into_iter().for_each(|chain| worker.recover(chain));
        worker
    }

    /// Takes up the seals that another run had begun. Of one whose entries are resolved only the record is to be removed.
    fn recover(&mut self, chain: Chain) {
        for record in &chain.records {
            let resolved = self.parts.inbox.unresolved(&record.entries).is_empty();
            let phase = if resolved { Phase::Ended } else { Phase::Ask };
            self.add(self.recorded(record, &chain.name, phase));
        }
        self.chains.insert(Arc::clone(&chain.name), chain);
    }

    fn recorded(&self, record: &SealRecord, chain: &Arc<str>, phase: Phase) -> Generation {
        let limit = self.parts.profile.batch_events;
        Generation::recorded(record, Arc::clone(chain), phase, &self.parts.records, limit)
    }

    /// Adds a generation at the end of its lane.
    fn add(&mut self, generation: Generation) {
        self.lanes.entry(generation.group.clone()).or_default().push_back(generation.id);
        self.work.insert(generation.id);
        self.generations.insert(generation.id, generation);
    }

    fn now(&self) -> Now {
        Now {
            wall_ms: now_ms(),
            steady_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Runs until shutdown or until nothing can go on. `entries` comes from the inbox, whose reader ends first.
    pub(super) async fn run(mut self, mut entries: mpsc::Receiver<Vec<Entry>>, fatal: &mut mpsc::Receiver<Failure>) -> Result<Exit> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let shutdown = self.parts.shutdown.clone();
        let mut give_up: Option<tokio::time::Instant> = None;
        let ended = loop {
            self.start();
            self.begin_checkpoint().await;
            if self.intake_ended && self.is_idle() {
                break Ok(());
            }
            let (checkpoint, again) = (&mut self.checkpoint, &mut self.reread_chunks.1);
            let step = tokio::select! {
                biased;
                () = shutdown.cancelled(), if !self.draining => {
                    self.draining = true;
                    self.paused_until = None;
                    self.parts.status.set_state(State::Draining);
                    give_up = Some(tokio::time::Instant::now() + self.parts.deadline);
                    self.end_groups_after_intake();
                    Ok(())
                }
                () = tokio::time::sleep_until(give_up.unwrap_or_else(tokio::time::Instant::now)), if give_up.is_some() => break Ok(()),
                Some(failure) = fatal.recv() => Err(failure),
                Some(done) = self.jobs.join_next(), if !self.jobs.is_empty() => self.done(done),
                Some(done) = self.dead_letter_tasks.join_next(), if !self.dead_letter_tasks.is_empty() => self.dead_letter_written(done),
                written = written(checkpoint), if checkpoint.is_some() => {
                    self.checkpoint_done(written);
                    Ok(())
                }
                Some(again) = again.recv() => self.read_again(again),
                received = entries.recv(), if !self.intake_ended => match received {
                    Some(received) => self.accept(received),
                    None => {
                        self.intake_ended = true;
                        self.end_groups_after_intake();
                        Ok(())
                    }
                },
                _ = tick.tick() => {
                    self.tick().await;
                    Ok(())
                }
            };
            if let Err(failure) = step {
                break Err(failure);
            }
        };
        self.finish(ended).await
    }

    /// Nothing is at work, and nothing more can be done before the end?
    fn is_idle(&self) -> bool {
        let unfinished = |generation: &Generation| !generation.given_up && !self.is_kept(generation);
        // What waits behind a generation that was given up stays where it is.
        let stuck = self.keeps() || self.generations.values().any(|generation| generation.given_up);
        let busy = !self.jobs.is_empty() || !self.dead_letter_tasks.is_empty() || self.checkpoint.is_some() || !self.resolved.is_empty();
        !busy && !self.generations.values().any(unfinished) && (self.waiting.is_empty() || stuck)
    }

    fn keeps(&self) -> bool {
        self.parts.profile.at_shutdown == AtShutdown::Keep
    }

    /// Does it stay in the inbox on purpose?
    fn is_kept(&self, generation: &Generation) -> bool {
        self.keeps() && generation.phase == Phase::Open && !generation.busy && generation.open_dead_letters == 0
    }

    /// Ends every open group once no more events come.
    fn end_groups_after_intake(&mut self) {
        if (self.draining || self.intake_ended) && !self.keeps() {
            let ended = self.groups.end_all(self.now());
            self.end(ended);
        }
    }

    fn end(&mut self, ended: Vec<u64>) {
        for id in ended {
            if let Some(generation) = self.generations.get_mut(&id) {
                generation.phase = Phase::Ended;
                self.work.insert(id);
            }
        }
    }

    fn accept(&mut self, entries: Vec<Entry>) -> Result<(), Failure> {
        for entry in entries {
            self.parts.status.counts().received.fetch_add(1, Relaxed);
            match &entry.payload {
                Payload::Event(event) => match group_of(&*self.parts.sink, event) {
                    Ok(group) if self.parts.total && (!self.waiting.is_empty() || !self.may_enter(&group)) => {
                        self.waiting.push_back((group, entry));
                    }
                    Ok(group) => self.place(group, entry),
                    Err(failure) if failure.kind == FailureKind::Fatal => return Err(failure),
                    Err(failure) => self.dead_letter(None, entry, failure)?,
                },
                Payload::Filtered => self.filtered(entry.sequence),
                Payload::Rejected(_, failure) | Payload::Unreadable(_, failure) => {
                    let failure = failure.clone();
                    if failure.kind == FailureKind::Fatal {
                        return Err(failure);
                    }
                    self.dead_letter(None, entry, failure)?;
                }
            }
        }
        self.end_groups_after_intake();
        Ok(())
    }

    fn filtered(&mut self, sequence: u64) {
        self.parts.status.counts().filtered.fetch_add(1, Relaxed);
        self.parts.inbox.resolve(sequence);
    }

    /// With ordering `total`: is there no generation but the open one of this group? The open one of another group ends.
    fn may_enter(&mut self, group: &Group) -> bool {
        if self.generations.is_empty() {
            return true;
        }
        if self.groups.generation(group).is_some() {
            return self.generations.len() == 1;
        }
        let ended = self.groups.end_all(self.now());
        self.end(ended);
        false
    }

    fn place(&mut self, group: Group, entry: Entry) {
        let own_time = entry.payload.event().and_then(|event| self.parts.sink.time(event));
        let arrival = Arrival {
            sequence: entry.sequence,
            bytes: entry.bytes as u64,
            arrived_ms: entry.arrived_ms,
            event_ms: own_time.map_or(entry.arrived_ms, epoch_ms),
        };
        let placed = self.groups.arrive(&group, arrival, self.now());
        let id = placed.generation;
        if !self.generations.contains_key(&id) {
            self.add(Generation::open(id, group, &self.parts.records, self.parts.profile.batch_events));
        }
        if let Some(generation) = self.generations.get_mut(&id) {
            generation.pending.push_back(entry);
            self.work.insert(id);
        }
        self.end(placed.ended);
    }

    /// Starts what can be done now.
    fn start(&mut self) {
        let now = Instant::now();
        if self.paused_until.is_some_and(|until| until > now) {
            return;
        }
        for id in self.work.clone() {
            if self.jobs.len() >= self.parts.profile.in_flight {
                return;
            }
            self.start_one(id, now);
        }
    }

    fn start_one(&mut self, id: u64, now: Instant) {
        let first = self.is_first(id);
        let (draining, keeps) = (self.draining, self.keeps());
        let Some(generation) = self.generations.get_mut(&id) else {
            self.work.remove(&id);
            return;
        };
        if !generation.is_free(now, draining) || generation.phase == Phase::Settling {
            return;
        }
        let phase = generation.phase;
        match phase {
            Phase::Ask if first => self.ask(id),
            Phase::Reread => self.begin_reread(id),
            Phase::Open if draining && keeps => {}
            _ if generation.take_batch(self.parts.profile.batch_bytes) => self.stage(id),
            Phase::Open => drop(self.work.remove(&id)),
            Phase::Ended if first && generation.is_complete() => {
                if generation.staged.len() == 0 {
                    self.settle(id);
                } else {
                    self.seal(id);
                }
            }
            _ => {}
        }
    }

    /// Is it the oldest generation of its group?
    fn is_first(&self, id: u64) -> bool {
        let lane = self.generations.get(&id).and_then(|generation| self.lanes.get(&generation.group));
        lane.and_then(VecDeque::front) == Some(&id)
    }

    fn done(&mut self, done: Result<TaskResult, JoinError>) -> Result<(), Failure> {
        match done.map_err(|e| Failure::fatal(TASK_ENDED, "a call of the sink ended abnormally").because(e))? {
            TaskResult::Staged(id, report, took) => {
                self.parts.status.observe_write(took);
                self.staged(id, report)
            }
            TaskResult::Asked(id, answer) => self.asked(id, answer),
            TaskResult::Sealed(id, ended) => self.ended(id, ended),
            TaskResult::Settled(id, result) => {
                self.settled(id, result);
                Ok(())
            }
        }
    }

    fn admit_waiting(&mut self) {
        while let Some((group, _)) = self.waiting.front() {
            let group = group.clone();
            if !self.may_enter(&group) {
                return;
            }
            if let Some((group, entry)) = self.waiting.pop_front() {
                self.place(group, entry);
            }
        }
        self.end_groups_after_intake();
    }

    async fn tick(&mut self) {
        let now = self.now();
        let due = self.groups.end_due(now);
        self.end(due);
        let ending = self.generations.values().any(|generation| generation.phase != Phase::Open);
        if self.parts.inbox.is_under_pressure() && !ending {
            let oldest = self.groups.end_oldest(now);
            self.end(oldest.into_iter().collect());
        }
        let unsettled = |generation: &&Generation| generation.phase == Phase::Settling && !generation.busy && !generation.given_up;
        if self.checkpoint.is_none() {
            self.resolved = self
                .generations
                .values()
                .filter(unsettled)
                .map(|generation| generation.id)
                .collect();
        }
        self.parts.inbox.checkpoint().await;
        let (inbox, status) = (&self.parts.inbox, &self.parts.status);
        status.set_backlog(inbox.backlog());
        if !self.draining {
            let failing = self.failing.load(Relaxed).then(|| "the target does not take events".to_owned());
            status.set_state(inbox.problem().or(failing).map_or(State::Running, State::Blocked));
        }
    }

    /// Entries that stay in the inbox on purpose.
    fn kept(&self) -> u64 {
        let held = |generation: &Generation| generation.staged.len() + generation.pending.len() as u64;
        let open = self.generations.values().filter(|generation| self.is_kept(generation));
        let waiting = if self.keeps() { self.waiting.len() as u64 } else { 0 };
        open.map(held).sum::<u64>() + waiting
    }

    async fn finish(mut self, ended: Result<(), Failure>) -> Result<Exit> {
        // When the worker ended by itself, the intake must end too.
        self.parts.shutdown.cancel();
        self.jobs.shutdown().await;
        self.dead_letter_tasks.shutdown().await;
        self.rereads.shutdown().await;
        let kept = self.kept();
        let status = self.parts.status.clone();
        let mut inbox = self.parts.inbox;
        inbox.checkpoint().await;
        let left = inbox.backlog().saturating_sub(kept);
        inbox.close().await;
        if ended.is_ok() && kept > 0 {
            tracing::info!(events = kept, "events of open groups stay in the inbox for the next start");
        }
        exit_of_sink(ended, left, &status)
    }
}

/// Has the checkpoint been written?
async fn written(checkpoint: &mut Option<(oneshot::Receiver<()>, Vec<u64>)>) -> bool {
    match checkpoint {
        Some((written, _)) => written.await.is_ok(),
        None => std::future::pending().await,
    }
}

fn group_of<S: StagingSink>(sink: &S, event: &cloudevents::Event) -> Result<Group, Failure> {
    let group = sink.group(event)?;
    if group.as_str().len() > Group::MAX_BYTES {
        let text = format!("the name of the event's group is longer than {} bytes", Group::MAX_BYTES);
        return Err(Failure::permanent(codes::GROUP_NAME_TOO_LONG, text));
    }
    Ok(group)
}
