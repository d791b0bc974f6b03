//! What the engine tells about itself: shared, cheap to clone, cheap to count on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use openconnect_error::Code;
use serde_json::{Value, json};

use crate::budget::Budget;
use crate::config::Guarantee;
use crate::inbox::now_ms;
use crate::mesh::Capabilities;

/// How long a connector may be blocked before readiness goes red.
const BLOCKED_GRACE: Duration = Duration::from_secs(10);
/// Partitions listed in `/status`; the rest is only counted.
const MAX_POSITIONS: usize = 1_000;
/// Upper bounds of the write histogram's buckets, in milliseconds.
pub(crate) const WRITE_BUCKETS_MS: [u64; 13] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

/// Where a connector is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Opening state, mesh and target.
    Starting,
    /// Another process of this instance is active; this one takes over when that one is gone. Counts as ready.
    Standby,
    /// Events flow, or could.
    Running,
    /// Waits for something: the mesh or the target is down. The reason is for people and carries no secret.
    Blocked(String),
    /// Shutting down: nothing new is taken.
    Draining,
    /// Ended.
    Stopped,
}

impl State {
    /// Name as in `/status`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Standby => "standby",
            Self::Running => "running",
            Self::Blocked(_) => "blocked",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// What this process is among those that share an instance's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Publishes and moves the offsets, under this number.
    Active {
        /// The lease's fencing number.
        fence: i64,
    },
    /// Waits.
    Standby {
        /// The active process.
        behind: String,
    },
}

impl Role {
    /// Name as in `/status` and in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Active { .. } => "active",
            Self::Standby { .. } => "standby",
        }
    }
}

/// Counters since start. Events that wait are in none but `received`.
#[derive(Debug, Default)]
pub struct Counts {
    /// Events taken from the source or the mesh.
    pub received: AtomicU64,
    /// Events that the mesh or the target has confirmed.
    pub delivered: AtomicU64,
    /// Events that a transform dropped.
    pub filtered: AtomicU64,
    /// Events that the dead-letter target has confirmed.
    pub dead_lettered: AtomicU64,
    /// Events that an attempt left to be tried again, counted at each attempt.
    pub retried: AtomicU64,
    /// Events that ended without any of the other outcomes; they come again after a restart.
    pub failed: AtomicU64,
}

impl Counts {
    /// Name and value of each, as in `/status`.
    pub fn list(&self) -> [(&'static str, u64); 6] {
        [
            ("received", self.received.load(Relaxed)),
            ("delivered", self.delivered.load(Relaxed)),
            ("filtered", self.filtered.load(Relaxed)),
            ("dead_lettered", self.dead_lettered.load(Relaxed)),
            ("retried", self.retried.load(Relaxed)),
            ("failed", self.failed.load(Relaxed)),
        ]
    }
}

/// Buckets of a histogram (not cumulated), its number, and its sum in seconds.
pub(crate) type Writes = ([u64; WRITE_BUCKETS_MS.len()], u64, f64);

/// What is counted of events on their way, from their arrival to their outcome.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    pub(crate) counts: Counts,
    backlog: AtomicU64,
    write_buckets: [AtomicU64; WRITE_BUCKETS_MS.len()],
    write_count: AtomicU64,
    write_nanos: AtomicU64,
}

impl Flow {
    /// Sets the number of events that have come and are not resolved.
    pub(crate) fn set_backlog(&self, events: u64) {
        self.backlog.store(events, Relaxed);
    }

    /// The number of events that have come and are not resolved.
    pub(crate) fn backlog(&self) -> u64 {
        self.backlog.load(Relaxed)
    }

    /// Records how long one write took.
    pub(crate) fn observe_write(&self, took: Duration) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = WRITE_BUCKETS_MS.iter().position(|bound| millis < *bound) {
            self.write_buckets[bucket].fetch_add(1, Relaxed);
        }
        self.write_count.fetch_add(1, Relaxed);
        self.write_nanos.fetch_add(nanos, Relaxed);
    }

    /// What [`Self::observe_write`] has recorded.
    pub(crate) fn writes(&self) -> Writes {
        let mut buckets = [0; WRITE_BUCKETS_MS.len()];
        for (to, from) in buckets.iter_mut().zip(&self.write_buckets) {
            *to = from.load(Relaxed);
        }
        (
            buckets,
            self.write_count.load(Relaxed),
            Duration::from_nanos(self.write_nanos.load(Relaxed)).as_secs_f64(),
        )
    }

    fn counts_json(&self) -> Value {
        let counts = self.counts.list().into_iter().map(|(name, n)| (name.to_owned(), json!(n)));
        Value::Object(counts.collect())
    }
}

/// The last error, kept for `/status`.
#[derive(Debug, Clone)]
struct LastError {
    code: Code,
    message: String,
    at: chrono::DateTime<chrono::Utc>,
}

#[derive(Debug)]
struct Detail {
    state: State,
    since: Instant,
    guarantee: Option<Guarantee>,
    role: Option<Role>,
    server: Option<Capabilities>,
    positions: BTreeMap<String, Value>,
    partitions_left_out: u64,
    spool: Option<SpoolStatus>,
    last_error: Option<LastError>,
}

/// A source's spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpoolStatus {
    /// Events that the mesh has not confirmed.
    pub(crate) events: u64,
    /// Bytes on disk. They are freed by segments, so an empty spool has some.
    pub(crate) bytes: u64,
    /// `state.inbox_max`.
    pub(crate) limit: u64,
    /// Since when the oldest of them is in it, in ms since the epoch.
    pub(crate) oldest_ms: Option<u64>,
    /// Why nothing is published now.
    pub(crate) waits_for: Option<String>,
}

impl SpoolStatus {
    /// How long the oldest event has waited; zero when none waits.
    pub(crate) fn oldest_age(&self) -> Duration {
        Duration::from_millis(self.oldest_ms.map_or(0, |since| now_ms().saturating_sub(since)))
    }
}

#[derive(Debug)]
struct Inner {
    name: String,
    connector: &'static str,
    version: &'static str,
    started: Instant,
    flow: Arc<Flow>,
    input: OnceLock<Arc<Flow>>,
    budget: OnceLock<Vec<Budget>>,
    detail: Mutex<Detail>,
}

/// Shared state of one connector: the engine sets it, the admin server shows it.
#[derive(Debug, Clone)]
pub struct StatusHandle(Arc<Inner>);

impl StatusHandle {
    /// State of the instance `name` of `connector`; it is [`State::Starting`].
    pub fn new(name: impl Into<String>, connector: &'static str, version: &'static str) -> Self {
        let now = Instant::now();
        Self(Arc::new(Inner {
            name: name.into(),
            connector,
            version,
            started: now,
            flow: Arc::default(),
            input: OnceLock::new(),
            budget: OnceLock::new(),
            detail: Mutex::new(Detail {
                state: State::Starting,
                since: now,
                guarantee: None,
                role: None,
                server: None,
                positions: BTreeMap::new(),
                partitions_left_out: 0,
                spool: None,
                last_error: None,
            }),
        }))
    }

    fn detail(&self) -> MutexGuard<'_, Detail> {
        // Every update is a plain assignment: what a panicking thread left is whole.
        self.0.detail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instance's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The connector's name.
    pub fn connector(&self) -> &'static str {
        self.0.connector
    }

    /// Sets the state. Being blocked for another reason does not restart the grace period of readiness.
    pub fn set_state(&self, state: State) {
        let mut detail = self.detail();
        if detail.state.name() != state.name() {
            detail.since = Instant::now();
        }
        detail.state = state;
    }

    /// The state.
    pub fn state(&self) -> State {
        self.detail().state.clone()
    }

    /// The counters of a source's input; they are shown from now on.
    pub(crate) fn open_input(&self) -> Arc<Flow> {
        Arc::clone(self.0.input.get_or_init(Arc::default))
    }

    /// The counters of a source's input; none where there is no input.
    pub(crate) fn input(&self) -> Option<&Arc<Flow>> {
        self.0.input.get()
    }

    /// Sets the computed guarantee.
    pub fn set_guarantee(&self, guarantee: Guarantee) {
        self.detail().guarantee = Some(guarantee);
    }

    /// The computed guarantee, once known.
    pub fn guarantee(&self) -> Option<Guarantee> {
        self.detail().guarantee
    }

    /// Sets what this process is among those that share a lease.
    pub fn set_role(&self, role: Role) {
        self.detail().role = Some(role);
    }

    /// What this process is among those that share a lease; none when nothing is shared.
    pub fn role(&self) -> Option<Role> {
        self.detail().role.clone()
    }

    /// Sets what the mesh told about itself.
    pub fn set_server(&self, server: Capabilities) {
        self.detail().server = Some(server);
    }

    /// Sets the durable position of one partition.
    pub fn set_position(&self, partition: &str, position: Value) {
        let mut detail = self.detail();
        if let Some(known) = detail.positions.get_mut(partition) {
            *known = position;
        } else if detail.positions.len() < MAX_POSITIONS {
            detail.positions.insert(partition.to_owned(), position);
        } else {
            detail.partitions_left_out += 1;
        }
    }

    /// How full a source's spool is; none where there is no spool.
    pub(crate) fn spool(&self) -> Option<SpoolStatus> {
        self.detail().spool.clone()
    }

    /// Sets how full a source's spool is, and whether it is published.
    pub(crate) fn set_spool(&self, spool: SpoolStatus) {
        self.detail().spool = Some(spool);
    }

    /// Sets the number of events that are accepted and not yet resolved (inbox, window).
    pub fn set_backlog(&self, events: u64) {
        self.0.flow.set_backlog(events);
    }

    /// The number of events that are accepted and not yet resolved.
    pub fn backlog(&self) -> u64 {
        self.0.flow.backlog()
    }

    /// Notes that a source has emitted events: they are received, and in the backlog until [`Self::resolved`].
    pub(crate) fn accepted(&self, events: u64) {
        self.0.flow.counts.received.fetch_add(events, Relaxed);
        self.0.flow.backlog.fetch_add(events, Relaxed);
    }

    /// Notes that events of [`Self::accepted`] have their outcome.
    pub(crate) fn resolved(&self, events: u64) {
        self.0.flow.backlog.fetch_sub(events, Relaxed);
    }

    /// Shows the use of the budget from now on: of all its parts. A process has one; a second one is not shown.
    pub fn watch_budget(&self, parts: impl IntoIterator<Item = Budget>) {
        let _ = self.0.budget.set(parts.into_iter().collect());
    }

    /// Use and size of the byte budget, as they are now; zero before the engine has one.
    pub fn memory(&self) -> (u64, u64) {
        let parts = self.0.budget.get().map_or(&[][..], Vec::as_slice);
        let sum = |bytes: fn(&Budget) -> usize| parts.iter().map(bytes).sum::<usize>() as u64;
        (sum(Budget::used), sum(Budget::total))
    }

    /// Keeps an error for `/status`. The text carries no secret and no event data.
    pub fn error(&self, code: Code, message: impl Into<String>) {
        self.detail().last_error = Some(LastError {
            code,
            message: message.into(),
            at: chrono::Utc::now(),
        });
    }

    /// The counters.
    pub fn counts(&self) -> &Counts {
        &self.0.flow.counts
    }

    /// Records how long one write (sink) or one publish until its acknowledgement (source) took.
    pub fn observe_write(&self, took: Duration) {
        self.0.flow.observe_write(took);
    }

    /// What [`Self::observe_write`] has recorded.
    pub(crate) fn writes(&self) -> Writes {
        self.0.flow.writes()
    }

    /// The counters of what the connector itself is for: a source's events, a sink's writes.
    pub(crate) fn flow(&self) -> Arc<Flow> {
        Arc::clone(&self.0.flow)
    }

    /// `Ok` when the connector does its work, else why not. Being blocked is tolerated for 10 s.
    pub fn readiness(&self) -> Result<(), String> {
        let detail = self.detail();
        match &detail.state {
            State::Running | State::Standby => Ok(()),
            State::Blocked(_) if detail.since.elapsed() <= BLOCKED_GRACE => Ok(()),
            State::Blocked(reason) => Err(format!("blocked: {reason}")),
            other => Err(other.name().to_owned()),
        }
    }

    /// The document of `/status`.
    pub fn to_json(&self) -> Value {
        let ready = self.readiness().is_ok();
        let inner = &self.0;
        let (used, limit) = self.memory();
        let detail = self.detail();
        json!({
            "name": inner.name,
            "connector": inner.connector,
            "version": inner.version,
            "state": detail.state.name(),
            "reason": if let State::Blocked(reason) = &detail.state { json!(reason) } else { Value::Null },
            "state_seconds": detail.since.elapsed().as_secs(),
            "ready": ready,
            "uptime_seconds": inner.started.elapsed().as_secs(),
            "guarantee": detail.guarantee.map(guarantee_name),
            "role": detail.role.as_ref().map(Role::name),
            "fence": if let Some(Role::Active { fence }) = &detail.role { json!(fence) } else { Value::Null },
            "active": if let Some(Role::Standby { behind }) = &detail.role { json!(behind) } else { Value::Null },
            "server": detail.server.as_ref().map(|server| json!({
                "name": server.server,
                "redelivers": server.redelivers,
                "ordered_refusal": server.ordered_refusal,
                "acknowledges": server.acknowledges,
            })),
            "positions": detail.positions,
            "positions_left_out": detail.partitions_left_out,
            "backlog": self.backlog(),
            "spool": detail.spool.as_ref().map(|spool| json!({
                "events": spool.events,
                "bytes": spool.bytes,
                "limit": spool.limit,
                "oldest_seconds": spool.oldest_age().as_secs(),
                "waits_for": spool.waits_for,
            })),
            "input": self.input().map(|input| json!({ "backlog": input.backlog(), "counts": input.counts_json() })),
            "memory": { "used": used, "limit": limit },
            "last_error": detail.last_error.as_ref().map(|e| json!({
                "code": e.code,
                "message": e.message,
                "at": e.at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            })),
            "counts": inner.flow.counts_json(),
        })
    }
}

/// A guarantee as the configuration writes it.
pub(crate) fn guarantee_name(guarantee: Guarantee) -> &'static str {
    match guarantee {
        Guarantee::AtMostOnce => "at-most-once",
        Guarantee::AtLeastOnce => "at-least-once",
        Guarantee::EffectivelyOnce => "effectively-once",
    }
}
