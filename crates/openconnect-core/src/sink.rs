//! What a sink connector's author implements.
//!
//! A sink is one [`write`](Sink::write): it gets a [`Batch`] of events and answers with a [`WriteReport`]. The core does the rest:
//! it takes events from the mesh, groups them by [`Target`], batches, retries, keeps the order of each key, bisects a batch that is
//! refused, writes dead letters, slows the intake down when the target is slow, and acknowledges an event only once it is delivered
//! or its dead letter is durable.
//!
//! # Life of a sink
//!
//! 1. [`profile`](Sink::profile) is called with the configuration, any number of times; it opens nothing.
//! 2. [`open`](Sink::open) is called once. [`check`](Sink::check) is not called by `run`, only by `check --connect`.
//! 3. [`target`](Sink::target) is called for each event as it comes in, [`write`](Sink::write) for each batch, up to
//!    [`in_flight`](SinkProfile::in_flight) at once.
//! 4. At shutdown no new events come in. What is here is written at once, each event that failed gets one last attempt, and
//!    nothing waits for a retry or a batch that is not full. After `delivery.shutdown_timeout` the running writes are dropped: their
//!    events count as undelivered and come again after the next start.
//! 5. [`close`](Sink::close) is called once, when no write runs any more. It is not called when the connector stops by a crash or
//!    when `open` failed.
//!
//! # Example
//!
//! ```
//! use openconnect_core::cloudevents::AttributesReader;
//! use openconnect_core::config::{ConnectorConfig, Problems};
//! use openconnect_core::sink::{Batch, Sink, SinkContext, SinkProfile, WriteReport};
//! use openconnect_core::{Failure, Result};
//!
//! /// Delivers to a list in memory.
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! struct ListConfig {
//!     /// Longest id that the list takes.
//!     max_id: usize,
//! }
//!
//! impl ConnectorConfig for ListConfig {
//!     fn validate(&self, problems: &mut Problems) {
//!         if self.max_id == 0 {
//!             problems.add("max_id", "must be more than 0");
//!         }
//!     }
//! }
//!
//! openconnect_core::code_table! {
//!     /// The list is lost.
//!     LIST_LOST,
//!     /// The id of an event is too long.
//!     LIST_ID,
//! }
//!
//! struct ListSink {
//!     max_id: usize,
//!     ids: std::sync::Mutex<Vec<String>>,
//! }
//!
//! impl Sink for ListSink {
//!     const NAME: &'static str = "list-sink";
//!     type Config = ListConfig;
//!
//!     fn profile(_: &ListConfig) -> SinkProfile {
//!         SinkProfile::new().batch_events(200).in_flight(4)
//!     }
//!
//!     async fn check(_: ListConfig) -> Result<()> {
//!         Ok(())
//!     }
//!
//!     async fn open(config: ListConfig, _: SinkContext) -> Result<Self> {
//!         Ok(Self { max_id: config.max_id, ids: Default::default() })
//!     }
//!
//!     async fn write(&self, batch: &Batch) -> WriteReport {
//!         let Ok(mut ids) = self.ids.lock() else {
//!             return WriteReport::Failed(Failure::fatal(LIST_LOST, "the list is lost"));
//!         };
//!         let results = batch.events().map(|event| {
//!             if event.id().len() > self.max_id {
//!                 return Err(Failure::permanent(LIST_ID, "the id is too long"));
//!             }
//!             ids.push(event.id().to_owned());
//!             Ok(())
//!         });
//!         WriteReport::PerEvent(results.collect())
//!     }
//! }
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cloudevents::Event;
use serde::{Deserialize, Serialize};

use crate::config::ConnectorConfig;
use crate::error::Result;
use crate::failure::Failure;
use crate::store::Store;

/// Which events may overtake which. Later variants are stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ordering {
    /// Any event may overtake any other.
    None,
    /// Events of one key never overtake each other, not across retries either.
    Key,
    /// No event overtakes another.
    Total,
}

impl Ordering {
    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Key => "key",
            Self::Total => "total",
        }
    }
}

/// What suits a sink with its configuration, and what it promises. The `delivery` section of the configuration overrides the
/// limits and the ordering.
///
/// ```
/// use openconnect_core::sink::SinkProfile;
///
/// let profile = SinkProfile::new().batch_events(500).in_flight(8).idempotent(true);
/// assert_eq!(profile.batch_events, 500);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SinkProfile {
    /// Largest number of events in a batch. Default 100.
    pub batch_events: usize,
    /// Largest size of a batch in bytes, of the events as the mesh carries them. A single event may be larger. Default 1 MiB.
    pub batch_bytes: usize,
    /// How long a batch that is not full waits for more events of its target. Default 10 ms.
    pub batch_age: Duration,
    /// Largest number of writes at the same time, over all targets. With [`Ordering::Total`] there is one. Default 1.
    pub in_flight: usize,
    /// The ordering when the configuration does not name one. Default [`Ordering::Key`].
    pub ordering: Ordering,
    /// The weakest ordering that the sink works with: a weaker one in the configuration is refused at start. Default
    /// [`Ordering::None`].
    pub required_ordering: Ordering,
    /// Is a batch written as a whole or not at all? Then a batch may hold several events of one key, in order. Default false.
    pub atomic: bool,
    /// Does a repeated write of the same event leave the target as one write would? Then the guarantee is effectively-once.
    /// Default false.
    pub idempotent: bool,
}

impl Default for SinkProfile {
    fn default() -> Self {
        Self::new()
    }
}

impl SinkProfile {
    /// The defaults.
    pub const fn new() -> Self {
        Self {
            batch_events: 100,
            batch_bytes: 1 << 20,
            batch_age: Duration::from_millis(10),
            in_flight: 1,
            ordering: Ordering::Key,
            required_ordering: Ordering::None,
            atomic: false,
            idempotent: false,
        }
    }

    /// Sets [`Self::batch_events`].
    pub const fn batch_events(mut self, events: usize) -> Self {
        self.batch_events = events;
        self
    }

    /// Sets [`Self::batch_bytes`].
    pub const fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// Sets [`Self::batch_age`].
    pub const fn batch_age(mut self, age: Duration) -> Self {
        self.batch_age = age;
        self
    }

    /// Sets [`Self::in_flight`].
    pub const fn in_flight(mut self, writes: usize) -> Self {
        self.in_flight = writes;
        self
    }

    /// Sets [`Self::ordering`].
    pub const fn ordering(mut self, ordering: Ordering) -> Self {
        self.ordering = ordering;
        self
    }

    /// Sets [`Self::required_ordering`], and [`Self::ordering`] to the same.
    pub const fn require_ordering(mut self, ordering: Ordering) -> Self {
        self.ordering = ordering;
        self.required_ordering = ordering;
        self
    }

    /// Sets [`Self::atomic`].
    pub const fn atomic(mut self, atomic: bool) -> Self {
        self.atomic = atomic;
        self
    }

    /// Sets [`Self::idempotent`].
    pub const fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }
}

/// What the core gives to a sink when it opens.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SinkContext {
    /// The instance's name (`name:` of the configuration).
    pub name: String,
    /// Largest number of events in a batch.
    pub batch_events: usize,
    /// Writes at the same time, at the most: a pool larger than this is wasted.
    pub in_flight: usize,
    /// The order in which events are written.
    pub ordering: Ordering,
    /// Durable state of the sink's own.
    pub store: Store,
}

impl SinkContext {
    /// For a sink that runs without the engine, in a test or a measurement: the instance `name`, with the sink's own profile and
    /// a store in memory. The engine makes its own.
    pub fn alone(name: &str, profile: &SinkProfile) -> Self {
        Self::new(name, profile, Store::in_memory())
    }

    pub(crate) fn new(name: &str, profile: &SinkProfile, store: Store) -> Self {
        Self {
            name: name.to_owned(),
            batch_events: profile.batch_events,
            in_flight: profile.in_flight,
            ordering: profile.ordering,
            store,
        }
    }
}

/// Where an event goes: a URL, a table, a collection, an account. Two events with equal targets may share a batch; targets are
/// written side by side and pause on their own. Cheap to clone. Its text is not logged or shown: it may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target(Option<Arc<str>>);

impl Target {
    /// The target of a sink that has only one.
    pub const ONE: Self = Self(None);

    /// The target of that name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(Some(name.into()))
    }

    /// The name; empty for [`Self::ONE`].
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Is this [`Self::ONE`]?
    pub(crate) fn is_one(&self) -> bool {
        self.0.is_none()
    }
}

/// Events of one target for one write, in order. With `ordering: key` a batch holds several events of one key only when the
/// sink's batches are [atomic](SinkProfile::atomic), and then in order.
#[derive(Debug)]
pub struct Batch {
    events: Vec<Arc<Event>>,
    target: Target,
    attempt: u32,
}

impl Batch {
    /// The first attempt to write these events to [`Target::ONE`]. For tests of a sink; the core makes its own.
    pub fn new(events: Vec<Arc<Event>>) -> Self {
        Self {
            events,
            target: Target::ONE,
            attempt: 1,
        }
    }

    /// The same events for another target.
    pub fn with_target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// The same events in another attempt; 1 is the first.
    pub fn with_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// The events, in order.
    pub fn events(&self) -> impl ExactSizeIterator<Item = &Event> + Clone {
        self.events.iter().map(AsRef::as_ref)
    }

    pub(crate) fn shared(&self) -> &[Arc<Event>] {
        &self.events
    }

    /// The target of every event.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// 1 for the first attempt of these events in this process.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The number of events; never 0.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Always false: the core never writes an empty batch.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// How one attempt went.
///
/// What becomes of an event that failed, by the [kind](crate::FailureKind) of its failure:
///
/// | kind | what the core does |
/// |---|---|
/// | `Retryable` | writes it again after a back-off, or after the time that the target named |
/// | `Throttled` | the same, and writes nothing else to this target until then; other targets go on |
/// | `Permanent` | writes a dead letter; of several events with one failure, bisects until those that are refused stand alone |
/// | `Fatal` | stops the connector; the events come again after the next start |
///
/// A limit that concerns all targets at once is `delivery.rate_limit`, or a sink whose events all have [`Target::ONE`].
#[derive(Debug, Clone, PartialEq)]
pub enum WriteReport {
    /// Every event is durable in the target.
    Delivered,
    /// No event was written, for this reason.
    Failed(Failure),
    /// One result for each event, in the batch's order.
    PerEvent(Vec<Result<(), Failure>>),
}

/// Writes events to a system. The [module](self) describes the life of a sink and has an example.
pub trait Sink: Send + Sync + Sized + 'static {
    /// The connector's name, e.g. `http-sink`.
    const NAME: &'static str;
    /// The `sink:` section of the configuration.
    type Config: ConnectorConfig;

    /// What suits the sink with this configuration, and what it promises.
    fn profile(config: &Self::Config) -> SinkProfile;

    /// Can the target be reached, and does it take the credentials? For `check --connect`: writes nothing, and may run while another
    /// process of this instance does. Ends by itself, in about the sink's own request timeout.
    ///
    /// # Errors
    ///
    /// Why the target can't be used, with a hint for the user.
    fn check(config: Self::Config) -> impl Future<Output = Result<()>> + Send;

    /// Opens the sink.
    ///
    /// # Errors
    ///
    /// Only for what no waiting can mend, such as a file that can't be read. A target that is down is no error here: `write`
    /// reports it as retryable, and the core waits.
    fn open(config: Self::Config, cx: SinkContext) -> impl Future<Output = Result<Self>> + Send;

    /// The target of an event. Called once for each event, on the way of all others: it computes and does not wait. The same event
    /// always has the same target.
    ///
    /// # Errors
    ///
    /// Why the event has no target. It becomes a dead letter; a fatal failure stops the connector.
    fn target(&self, event: &Event) -> Result<Target, Failure> {
        let _ = event;
        Ok(Target::ONE)
    }

    /// One attempt to write a batch, without a retry inside. Called up to `in_flight` times at once; two concurrent batches never
    /// hold events of the same key (with `ordering: key`). Events that are reported as delivered are acknowledged: they are durable
    /// in the target by then. A write that is dropped (shutdown deadline) or whose process dies is repeated after the next start, so
    /// a sink makes a repeat harmless where its target can.
    fn write(&self, batch: &Batch) -> impl Future<Output = WriteReport> + Send;

    /// Releases what `open` took. No write runs any more.
    ///
    /// # Errors
    ///
    /// What could not be released; logged and given as the process's result.
    fn close(self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}
