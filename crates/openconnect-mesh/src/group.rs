//! A consumer group of one topic: its cursor, what its members have and have not acknowledged, what is to be delivered
//! again, and which member has which key.
//!
//! All state is behind one lock that is held for short, never while waiting. A task per group (`run`) hands out events
//! whenever there may be something to do: new events, an acknowledgement, room in a member's output, a deadline.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use openconnect_fault::{Defect, Failpoint, planted, reach};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::now_ms;
use crate::config::Config;
use crate::lock::locked;
use crate::log::entries::Entries;
use crate::log::record::Record;
use crate::log::tail::Place;

/// One delivery to one member.
pub(crate) struct Delivery<'a> {
    pub(crate) topic: &'a str,
    pub(crate) record: &'a Record,
    pub(crate) seq: u64,
    pub(crate) attempt: u32,
}

/// Where a member's events go.
pub(crate) trait Outlet: Send + Sync {
    /// Is there room for one more? When not, the group is woken once there is.
    fn ready(&self) -> bool;
    /// Takes the delivery.
    fn deliver(&self, delivery: &Delivery<'_>);
    /// Keeps unacknowledged deliveries as long as its session lives.
    fn holds(&self) -> bool {
        false
    }
}

/// Events that wait because of their key are kept up to this many; then nothing new is fetched.
const MAX_WAITING: usize = 1024;
/// Events handed out before other tasks get a turn.
const ROUND: usize = 512;
/// The distance between the oldest unacknowledged event and the newest delivered one.
const MAX_SPAN: usize = 1 << 20;

static NEXT_SEQ: AtomicU64 = AtomicU64::new(1);

struct Member {
    id: u64,
    outlet: Arc<dyn Outlet>,
    events: usize,
    bytes: usize,
    /// Gets nothing new; what it has, it may still acknowledge.
    retired: bool,
}

struct InFlight {
    index: u64,
    record: Record,
    member: u64,
    deadline: Option<Instant>,
    attempt: u32,
}

struct Waiting {
    record: Record,
    attempt: u32,
}

struct State {
    members: Vec<Member>,
    turn: usize,
    /// Oldest unresolved index; `span` says for it and the following ones whether they are resolved.
    cursor: u64,
    span: VecDeque<bool>,
    in_flight: HashMap<u64, InFlight>,
    /// To be delivered before anything new, in order.
    waiting: BTreeMap<u64, Waiting>,
    /// Which member has events of a key, and how many.
    keys: HashMap<Bytes, (u64, usize)>,
    /// Read from the disk ahead of delivery.
    ahead: VecDeque<(u64, Bytes)>,
}

pub(crate) struct Group {
    pub(crate) name: String,
    topic: Arc<str>,
    pub(crate) durable: bool,
    config: Arc<Config>,
    state: Mutex<State>,
    wake: Notify,
    cancel: CancellationToken,
    started: AtomicBool,
    /// Requests of other server runs have nobody waiting for them.
    run: AtomicU64,
}

enum Pumped {
    Idle,
    Again,
    Disk(u64),
}

impl Group {
    pub(crate) fn new(name: &str, topic: &Arc<str>, cursor: u64, durable: bool, config: &Arc<Config>) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            topic: Arc::clone(topic),
            durable,
            config: Arc::clone(config),
            state: Mutex::new(State {
                members: Vec::new(),
                turn: 0,
                cursor,
                span: VecDeque::new(),
                in_flight: HashMap::new(),
                waiting: BTreeMap::new(),
                keys: HashMap::new(),
                ahead: VecDeque::new(),
            }),
            wake: Notify::new(),
            cancel: CancellationToken::new(),
            started: AtomicBool::new(false),
            run: AtomicU64::new(0),
        })
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(crate) fn close(&self) {
        self.cancel.cancel();
    }

    pub(crate) fn cursor(&self) -> u64 {
        locked(&self.state).cursor
    }

    pub(crate) fn members(&self) -> usize {
        locked(&self.state).members.len()
    }

    /// Adds a member and, for the first one ever, gives the task that serves the group.
    pub(crate) fn join(&self, id: u64, outlet: Arc<dyn Outlet>, run: u64) -> bool {
        self.run.store(run, Ordering::Relaxed);
        let mut state = locked(&self.state);
        state.members.retain(|m| m.id != id);
        state.members.push(Member {
            id,
            outlet,
            events: 0,
            bytes: 0,
            retired: false,
        });
        drop(state);
        self.wake();
        !self.started.swap(true, Ordering::AcqRel)
    }

    /// Gives a member nothing new. What it has stays with it until it acknowledges, or leaves; the keys of that wait for it.
    pub(crate) fn retire(&self, id: u64) {
        let mut state = locked(&self.state);
        state.members.iter_mut().filter(|m| m.id == id).for_each(|m| m.retired = true);
        drop(state);
        self.wake();
    }

    /// Removes a member; what it had is delivered again at once, in order.
    pub(crate) fn leave(&self, id: u64) {
        let mut state = locked(&self.state);
        state.members.retain(|m| m.id != id);
        let lost: Vec<u64> = state
            .in_flight
            .iter()
            .filter(|(_, f)| f.member == id)
            .map(|(seq, _)| *seq)
            .collect();
        for seq in lost {
            if planted(Defect::MeshNoRedelivery) {
                state.forget(seq);
            } else {
                state.take_back(seq);
            }
        }
        if state.members.is_empty() {
            // Nobody is there to read on: keep no memory, go on from the cursor when somebody comes.
            state.rewind();
        }
        drop(state);
        self.wake();
    }

    /// Resolves deliveries of a member. Unknown ones are left in `seqs`.
    pub(crate) fn acknowledge(&self, member: u64, seqs: &mut Vec<u64>) {
        reach(Failpoint::MeshAcknowledged);
        let mut state = locked(&self.state);
        let before = seqs.len();
        seqs.retain(|seq| !state.resolve(*seq, member));
        drop(state);
        if seqs.len() != before {
            self.wake();
        }
    }

    /// Gives up everything below `index`.
    pub(crate) fn skip_to(&self, index: u64) {
        let mut state = locked(&self.state);
        while state.cursor < index && !state.span.is_empty() {
            let cursor = state.cursor;
            state.waiting.remove(&cursor);
            let seq = state.in_flight.iter().find(|(_, f)| f.index == cursor).map(|(seq, _)| *seq);
            match seq {
                Some(seq) => state.forget(seq),
                None => state.mark(cursor),
            }
        }
        if state.span.is_empty() {
            state.cursor = state.cursor.max(index);
        }
        state.ahead.retain(|(i, _)| *i >= index);
    }

    /// Serves the group until it is closed.
    pub(crate) async fn run(self: Arc<Self>, entries: Arc<Entries>, stop: CancellationToken) {
        let tick = (self.config.delivery.redeliver_after / 4).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let mut deadlines = tokio::time::interval(tick);
        deadlines.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.wake.notified() => {}
                _ = deadlines.tick(), if self.members() > 0 => self.expire(),
                () = self.cancel.cancelled() => return,
                () = stop.cancelled() => return,
            }
            loop {
                match self.pump(&entries) {
                    Pumped::Idle => break,
                    Pumped::Again => tokio::task::yield_now().await,
                    Pumped::Disk(from) => {
                        if !self.read_ahead(&entries, from).await {
                            break;
                        }
                    }
                }
            }
        }
    }

    async fn read_ahead(&self, entries: &Entries, from: u64) -> bool {
        let committed = entries.committed();
        let mut reader = entries.reader(from);
        let read = tokio::task::spawn_blocking(move || {
            let mut out = Vec::new();
            reader.read(1024, 1 << 20, &mut out).map(|_| out)
        });
        let entries = match read.await {
            Ok(Ok(entries)) => entries,
            Ok(Err(error)) => {
                tracing::error!(topic = &*self.topic, group = self.name, %error, "could not read the log");
                return false;
            }
            Err(_) => return false,
        };
        let mut state = locked(&self.state);
        if state.next() != from {
            return true;
        }
        state.ahead = entries.into_iter().filter(|(index, _)| *index < committed).collect();
        !state.ahead.is_empty()
    }

    /// Puts deliveries back whose time is over.
    fn expire(&self) {
        let now = Instant::now();
        let mut state = locked(&self.state);
        let late: Vec<u64> = state
            .in_flight
            .iter()
            .filter(|(_, f)| f.deadline.is_some_and(|d| d <= now))
            .map(|(seq, _)| *seq)
            .collect();
        for seq in &late {
            state.take_back(*seq);
        }
        drop(state);
        if !late.is_empty() {
            tracing::debug!(
                topic = &*self.topic,
                group = self.name,
                events = late.len(),
                "not acknowledged in time"
            );
            self.wake();
        }
    }

    fn pump(&self, entries: &Entries) -> Pumped {
        let mut state = locked(&self.state);
        let mut blocked = HashSet::new();
        if !self.pump_waiting(&mut state, &mut blocked) {
            return Pumped::Idle;
        }
        let mut fetched = Vec::new();
        let mut handed = 0;
        while handed < ROUND {
            if state.waiting.len() >= MAX_WAITING || state.span.len() >= MAX_SPAN || !self.has_room(&state) {
                return Pumped::Idle;
            }
            let next = state.next();
            fetched.clear();
            if let Some(entry) = state.ahead.pop_front() {
                fetched.push(entry);
            } else {
                match entries.read_tail(next, 64, &mut fetched) {
                    Place::Here => {}
                    Place::Ahead => return Pumped::Idle,
                    Place::Disk => return Pumped::Disk(next),
                }
            }
            // Room may appear while this runs: once one event has to wait, those behind it wait too.
            let mut stuck = false;
            for (index, bytes) in fetched.drain(..) {
                state.extend_to(index);
                handed += 1;
                let Some(record) = Record::parse(bytes) else {
                    tracing::error!(topic = &*self.topic, index, "not an event; skipped");
                    state.mark(index);
                    continue;
                };
                if record.request.is_some_and(|r| self.is_over(r)) {
                    state.mark(index);
                } else if stuck || !self.hand_out(&mut state, index, &record, 1, &blocked) {
                    if record.key.is_empty() {
                        stuck = true;
                    } else {
                        blocked.insert(record.key.clone());
                    }
                    state.waiting.insert(index, Waiting { record, attempt: 1 });
                }
            }
            if stuck {
                return Pumped::Idle;
            }
        }
        Pumped::Again
    }

    fn is_over(&self, request: crate::log::record::Request) -> bool {
        request.run != self.run.load(Ordering::Relaxed) || request.deadline_ms < now_ms()
    }

    /// Delivers what waits, as far as possible; `blocked` gets the keys that still wait. False when nobody has room.
    fn pump_waiting(&self, state: &mut State, blocked: &mut HashSet<Bytes>) -> bool {
        if !self.has_room(state) {
            return false;
        }
        if state.waiting.is_empty() {
            return true;
        }
        let mut room = true;
        let waiting = std::mem::take(&mut state.waiting);
        for (index, item) in waiting {
            if room && self.hand_out(state, index, &item.record, item.attempt, blocked) {
                continue;
            }
            if item.record.key.is_empty() {
                room = false;
            } else {
                room = room && self.has_room(state);
                blocked.insert(item.record.key.clone());
            }
            state.waiting.insert(index, item);
        }
        room
    }

    fn has_room(&self, state: &State) -> bool {
        state.members.iter().any(|m| self.member_has_room(m))
    }

    fn member_has_room(&self, member: &Member) -> bool {
        let delivery = &self.config.delivery;
        !member.retired
            && member.events < delivery.max_unacknowledged
            && (member.bytes as u64) < delivery.max_unacknowledged_bytes
            && member.outlet.ready()
    }

    /// Gives the event to the member that must or may have it. False when that is nobody now.
    fn hand_out(&self, state: &mut State, index: u64, record: &Record, attempt: u32, blocked: &HashSet<Bytes>) -> bool {
        let key = &record.key;
        if !key.is_empty() && !blocked.is_empty() && blocked.contains(key) {
            return false;
        }
        let bound = if key.is_empty() {
            None
        } else {
            state.keys.get(key).map(|(member, _)| *member)
        };
        let count = state.members.len();
        let chosen = match bound {
            Some(id) => state.members.iter().position(|m| m.id == id && self.member_has_room(m)),
            None => (0..count)
                .map(|step| (state.turn + step) % count)
                .find(|at| state.members.get(*at).is_some_and(|m| self.member_has_room(m))),
        };
        let Some(member) = chosen.and_then(|at| {
            state.turn = (at + 1) % count;
            state.members.get_mut(at)
        }) else {
            return false;
        };
        member.events += 1;
        member.bytes += record.body.len();
        let (id, outlet) = (member.id, Arc::clone(&member.outlet));
        let seq = NEXT_SEQ.fetch_add(1, Ordering::Relaxed);
        let deadline = (!outlet.holds()).then(|| Instant::now() + self.config.delivery.redeliver_after);
        if !key.is_empty() {
            state.keys.entry(key.clone()).or_insert((id, 0)).1 += 1;
        }
        state.in_flight.insert(
            seq,
            InFlight {
                index,
                record: record.clone(),
                member: id,
                deadline,
                attempt,
            },
        );
        outlet.deliver(&Delivery {
            topic: &self.topic,
            record,
            seq,
            attempt,
        });
        true
    }
}

impl State {
    /// Index of the event that is to be fetched next.
    fn next(&self) -> u64 {
        self.cursor + self.span.len() as u64
    }

    /// Makes `index` the newest fetched one. What lies between is gone from the log and counts as resolved.
    fn extend_to(&mut self, index: u64) {
        while self.next() < index {
            if self.span.is_empty() {
                self.cursor = index;
            } else {
                self.span.push_back(true);
            }
        }
        self.span.push_back(false);
    }

    /// The event at `index` is resolved; moves the cursor over all that are.
    fn mark(&mut self, index: u64) {
        let at = index.checked_sub(self.cursor).and_then(|n| usize::try_from(n).ok());
        if let Some(resolved) = at.and_then(|at| self.span.get_mut(at)) {
            *resolved = true;
        }
        while self.span.front() == Some(&true) {
            self.span.pop_front();
            self.cursor += 1;
        }
    }

    fn resolve(&mut self, seq: u64, member: u64) -> bool {
        if self.in_flight.get(&seq).is_none_or(|f| f.member != member) {
            return false;
        }
        self.forget(seq);
        true
    }

    fn forget(&mut self, seq: u64) {
        if let Some(index) = self.release(seq).map(|f| f.index) {
            self.mark(index);
        }
    }

    fn take_back(&mut self, seq: u64) {
        if let Some(flight) = self.release(seq) {
            self.waiting.insert(
                flight.index,
                Waiting {
                    record: flight.record,
                    attempt: flight.attempt + 1,
                },
            );
        }
    }

    /// Takes a delivery out of its member's window and key.
    fn release(&mut self, seq: u64) -> Option<InFlight> {
        let flight = self.in_flight.remove(&seq)?;
        if let Some(member) = self.members.iter_mut().find(|m| m.id == flight.member) {
            member.events = member.events.saturating_sub(1);
            member.bytes = member.bytes.saturating_sub(flight.record.body.len());
        }
        if !flight.record.key.is_empty()
            && let Some((_, count)) = self.keys.get_mut(&flight.record.key)
        {
            *count -= 1;
            if *count == 0 {
                self.keys.remove(&flight.record.key);
            }
        }
        Some(flight)
    }

    /// Forgets everything behind the cursor, when no member is left.
    fn rewind(&mut self) {
        self.ahead = VecDeque::new();
        if self.waiting.len() < MAX_WAITING {
            return;
        }
        self.waiting.clear();
        self.span = VecDeque::new();
    }
}
