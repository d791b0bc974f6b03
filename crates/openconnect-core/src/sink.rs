//! What a sink connector's author implements.

use std::future::Future;
use std::time::Duration;

use cloudevents::Event;
use serde::{Deserialize, Serialize};

use crate::config::ConnectorConfig;
use crate::error::Result;
use crate::failure::Failure;

/// Which events may overtake which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ordering {
    /// Any event may overtake any other.
    None,
    /// Events of one key never overtake each other, not across retries either.
    Key,
    /// No event overtakes another.
    Total,
}

/// A sink's own defaults; the configuration's `delivery` section overrides the numbers.
#[derive(Debug, Clone, Copy)]
pub struct SinkDefaults {
    /// Events in a batch at the most.
    pub batch_events: usize,
    /// Bytes (of the events as the mesh carries them) in a batch at the most.
    pub batch_bytes: usize,
    /// How long a batch that is not full waits for more events.
    pub batch_age: Duration,
    /// Writes at the same time, at the most.
    pub in_flight: usize,
    /// Default ordering.
    pub ordering: Ordering,
    /// Does a repeated write of the same event leave the target as one write would?
    pub idempotent: bool,
}

/// What the core gives to a sink when it opens.
pub struct SinkContext {
    /// The instance's name (`name:` of the configuration).
    pub name: String,
    /// Largest number of events in a batch.
    pub batch_events: usize,
    /// Writes at the same time, at the most: a pool larger than this is wasted.
    pub in_flight: usize,
    /// The order in which events are written.
    pub ordering: Ordering,
}

/// Events for one write, in order. With `ordering: key` a batch holds several events of one key only when the sink's
/// batches are atomic ([`Sink::atomic`]), and then in order.
#[derive(Debug)]
pub struct Batch {
    events: Vec<std::sync::Arc<Event>>,
    /// 1 for the first attempt of these events.
    pub attempt: u32,
}

impl Batch {
    /// A batch of these events; for tests of a sink, the core makes its own.
    pub fn new(events: Vec<std::sync::Arc<Event>>, attempt: u32) -> Self {
        Self { events, attempt }
    }

    /// The events, in order.
    pub fn events(&self) -> impl ExactSizeIterator<Item = &Event> + Clone {
        self.events.iter().map(AsRef::as_ref)
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
#[derive(Debug, Clone, PartialEq)]
pub enum WriteReport {
    /// Every event is safe in the target.
    Delivered,
    /// Nothing was written, for this reason. If it is permanent and the batch has several events, the core bisects.
    Failed(Failure),
    /// One answer per event, in the batch's order.
    PerEvent(Vec<Result<(), Failure>>),
}

/// Writes events to a system. The core owns the loop: batching, retry, ordering, dead letters, back-pressure, shutdown.
pub trait Sink: Send + Sync + Sized + 'static {
    /// The connector's name, e.g. `http-sink`.
    const NAME: &'static str;
    /// What suits this target when the configuration is silent.
    const DEFAULTS: SinkDefaults;
    /// The `sink:` section of the configuration.
    type Config: ConnectorConfig;

    /// Connects. Called once, before the first `write`. A target that is down at start is no error here: `write` says so.
    fn open(config: Self::Config, cx: SinkContext) -> impl Future<Output = Result<Self>> + Send;

    /// Can the target be reached and written to? Used by `check --connect` and by readiness.
    fn check(&self) -> impl Future<Output = Result<()>> + Send;

    /// Is a batch written as a whole or not at all?
    fn atomic(&self) -> bool {
        false
    }

    /// Defaults after looking at the configuration, where they depend on it; e.g. one event a request makes a batch of one.
    fn defaults(config: &Self::Config) -> SinkDefaults {
        let _ = config;
        Self::DEFAULTS
    }

    /// One attempt, no retry inside. Says for every event of the batch how it went. May be called `in_flight` times at once.
    /// When it is dropped half-way (shutdown deadline) the events count as undelivered.
    fn write(&self, batch: &Batch) -> impl Future<Output = WriteReport> + Send;

    /// Releases what `open` took.
    fn close(self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}
