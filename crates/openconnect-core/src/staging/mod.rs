//! What the author of a staging sink implements: a sink that takes events one by one and shows them together.
//!
//! A file becomes visible when it is complete; a chat gets one message for the alerts of five minutes; a database takes a block
//! under a token. Such a sink sorts events into [groups](Group). The core keeps every event in the inbox, on disk, until its group
//! is visible, and decides by [`GroupRules`] when a group ends. The next event of the same name then begins the next
//! *generation* of the group.
//!
//! # Life of a group
//!
//! 1. [`group`](StagingSink::group) names the group of each event as it comes in.
//! 2. [`stage`](StagingSink::stage) takes the events of one generation in, in the inbox's order, a batch at a time. Nothing may
//!    become visible. A sink that begins something outside (an upload) hands its name over by [`OpenGroup::keep`]; it is durable when
//!    that returns.
//! 3. When a rule ends the group, the core writes a *seal record* (token, group, generation, entries, handle), fsynced, and calls
//!    [`seal`](StagingSink::seal). When it returns `Ok`, all events of the generation are visible, and durable. The core then resolves
//!    them in the inbox and removes the record.
//! 4. Before `seal` is called for the same generation again, after a failure or a crash, the core asks
//!    [`sealed`](StagingSink::sealed). Token, group and generation are the same each time.
//!
//! A group that was open at a crash begins anew: its handle is given to [`discard`](StagingSink::discard), and its events are staged
//! once more from the first. The generations of one group are sealed one after the other; groups are independent of each other.
//!
//! # Shutdown
//!
//! No new events come in. With [`AtShutdown::Seal`] every open group is sealed within `delivery.shutdown_timeout`; with
//! [`AtShutdown::Keep`] its events stay in the inbox for the next start, on purpose: the exit code is 0. Then
//! [`close`](StagingSink::close) is called.
//!
//! # Example
//!
//! A sink that collects the ids of a group's events in a line.
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::Mutex;
//!
//! use openconnect_core::cloudevents::{AttributesReader, Event};
//! use openconnect_core::config::{ConnectorConfig, Problems};
//! use openconnect_core::sink::{Batch, WriteReport};
//! use openconnect_core::staging::*;
//! use openconnect_core::{Failure, Result};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! struct LineConfig {
//!     /// Ids in a line.
//!     ids: u64,
//! }
//!
//! impl ConnectorConfig for LineConfig {
//!     fn validate(&self, problems: &mut Problems) {
//!         if self.ids == 0 {
//!             problems.add("ids", "must be more than 0");
//!         }
//!     }
//! }
//!
//! #[derive(Default)]
//! struct LineSink {
//!     open: Mutex<HashMap<String, Vec<String>>>,
//!     lines: Mutex<HashMap<String, String>>,
//! }
//!
//! openconnect_core::code_table! {
//!     /// The lines are lost.
//!     LINE_LOST,
//! }
//!
//! fn lost<T>(_: T) -> Failure {
//!     Failure::fatal(LINE_LOST, "the lines are lost")
//! }
//!
//! impl StagingSink for LineSink {
//!     const NAME: &'static str = "line-sink";
//!     type Config = LineConfig;
//!
//!     fn profile(config: &LineConfig) -> StagingProfile {
//!         StagingProfile::new(GroupRules::new().max_events(config.ids)).repeats(Repeats::Known)
//!     }
//!
//!     async fn check(_: LineConfig) -> Result<()> {
//!         Ok(())
//!     }
//!
//!     async fn open(_: LineConfig, _: StagingContext) -> Result<Self> {
//!         Ok(Self::default())
//!     }
//!
//!     fn group(&self, event: &Event) -> Result<Group, Failure> {
//!         Ok(Group::new(event.ty()))
//!     }
//!
//!     async fn stage(&self, group: &OpenGroup, batch: &Batch) -> WriteReport {
//!         let Ok(mut open) = self.open.lock() else {
//!             return WriteReport::Failed(lost(()));
//!         };
//!         let ids = open.entry(group.token().to_owned()).or_default();
//!         // What a failed attempt or an earlier run left does not count.
//!         ids.truncate(group.staged() as usize);
//!         ids.extend(batch.events().map(|event| event.id().to_owned()));
//!         WriteReport::Delivered
//!     }
//!
//!     async fn seal(&self, seal: &Seal) -> Result<(), Failure> {
//!         let ids = self.open.lock().map_err(lost)?.remove(seal.token()).unwrap_or_default();
//!         self.lines.lock().map_err(lost)?.insert(seal.token().to_owned(), ids.join(" "));
//!         Ok(())
//!     }
//!
//!     async fn sealed(&self, seal: &Seal) -> Result<Sealed, Failure> {
//!         let lines = self.lines.lock().map_err(lost)?;
//!         Ok(match lines.get(seal.token()) {
//!             Some(line) => Sealed::Visible { count: line.split(' ').count() as u64, last: None },
//!             None => Sealed::NotVisible,
//!         })
//!     }
//! }
//! ```

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use cloudevents::{AttributesReader, Event};
use serde::{Deserialize, Serialize};

use crate::codes;
use crate::config::ConnectorConfig;
use crate::error::Result;
use crate::failure::Failure;
use crate::sink::{Batch, WriteReport};

mod rules;

pub use rules::{AtShutdown, EventTime, GroupRules, LeadingEdge, Refused, Repeats, Schedule, StagingProfile};

/// The name of a group: a prefix and an hour, a channel and a severity, a table and a partition. Not a secret: it is logged.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Group(Arc<str>);

impl Group {
    /// Longest name in bytes; an event with a longer one goes to the dead letters.
    pub const MAX_BYTES: usize = 1024;

    /// The group of that name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a sink has begun for a generation outside of the process, by its name there: the id of an upload, a path. Not a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Handle(String);

impl Handle {
    /// The handle of that name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where handles are written down.
pub(crate) trait KeepHandle: Send + Sync {
    /// Blocks until the handle is durable.
    fn keep(&self, token: &str, handle: &Handle) -> Result<(), Failure>;
}

/// One generation of a group that takes events in.
pub struct OpenGroup {
    pub(crate) group: Group,
    pub(crate) generation: u64,
    pub(crate) token: Arc<str>,
    pub(crate) staged: u64,
    pub(crate) handle: Arc<Mutex<Option<Handle>>>,
    pub(crate) keeper: Arc<dyn KeepHandle>,
}

impl OpenGroup {
    /// The group.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Which generation of the group: a number that grows with each, with gaps.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Tells this generation from every other of this instance: 32 hexadecimal digits. The same after a crash, as long as the
    /// generation begins with the same event.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// How many events of this generation the sink has taken in. What it holds beyond them, of a failed attempt or of a run that
    /// crashed, does not count and must go. 0 when the generation begins, or begins anew.
    pub fn staged(&self) -> u64 {
        self.staged
    }

    /// What [`keep`](Self::keep) was last given for this generation, in this run or, when its seal was begun, before a crash.
    pub fn handle(&self) -> Option<Handle> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes down what the sink has begun for this generation, in place of an earlier handle. Durable when it returns: after a
    /// crash it is given to [`StagingSink::discard`], or back with the [`Seal`] when the generation's seal was begun.
    ///
    /// # Errors
    /// The state folder can't be written: retryable. Return it from [`StagingSink::stage`].
    pub async fn keep(&self, handle: Handle) -> Result<(), Failure> {
        let (keeper, token, kept) = (Arc::clone(&self.keeper), Arc::clone(&self.token), handle.clone());
        tokio::task::spawn_blocking(move || keeper.keep(&token, &kept))
            .await
            .map_err(|e| Failure::retryable(codes::STAGING_UNWRITTEN, "writing a handle ended abnormally").because(e))??;
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        Ok(())
    }
}

/// One generation of a group that ends: everything in it becomes visible at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    pub(crate) group: Group,
    pub(crate) generation: u64,
    pub(crate) token: Arc<str>,
    pub(crate) count: u64,
    pub(crate) handle: Option<Handle>,
    pub(crate) attempt: u32,
}

impl Seal {
    /// The group.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Which generation of the group.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The token of the generation, as in [`OpenGroup::token`].
    pub fn token(&self) -> &str {
        &self.token
    }

    /// How many events become visible; never 0.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What the sink has begun for this generation.
    pub fn handle(&self) -> Option<&Handle> {
        self.handle.as_ref()
    }

    /// 1 for the first attempt in this process.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

/// What became of a seal whose end the core does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed {
    /// The first `count` events of the generation are visible, in the order in which they were staged.
    Visible {
        /// How many.
        count: u64,
        /// The id of the last of them, where the target tells it. The core compares it when all are visible.
        last: Option<String>,
    },
    /// Nothing is visible, and nothing will be unless `seal` is called again.
    NotVisible,
    /// The target can't say, but a repeat under the same token changes nothing that is visible.
    RepeatIsHarmless,
    /// The target can't say, and a repeat may show the events twice.
    Unknown,
}

/// Takes events in and shows them together. The core owns the loop: inbox, groups, order, retry, recovery, dead letters, shutdown.
///
/// Calls for one generation come one after the other; those for different generations run side by side, up to
/// [`in_flight`](StagingProfile::in_flight).
pub trait StagingSink: Send + Sync + Sized + 'static {
    /// The connector's name, e.g. `s3-sink`.
    const NAME: &'static str;
    /// The `sink:` section of the configuration.
    type Config: ConnectorConfig;

    /// Rules, limits and promises, from the configuration. Opens nothing; called any number of times.
    fn profile(config: &Self::Config) -> StagingProfile;

    /// Can the target be reached and written to? Called by `check --connect` alone, in a process that delivers nothing.
    ///
    /// # Errors
    /// What is wrong, for the person who runs `check`.
    fn check(config: Self::Config) -> impl Future<Output = Result<()>> + Send;

    /// Connects. Called once, before anything else. A target that is down is no error here: `seal` or `stage` says so.
    ///
    /// # Errors
    /// The connector can't start.
    fn open(config: Self::Config, cx: StagingContext) -> impl Future<Output = Result<Self>> + Send;

    /// The group of an event, after the transforms.
    ///
    /// # Errors
    /// The event has none: it goes to the dead letters, unless the failure is fatal.
    fn group(&self, event: &Event) -> Result<Group, Failure>;

    /// The event's own time, for [`GroupRules::event_time`]. Without one its arrival in the inbox counts. Default: its `time`.
    fn time(&self, event: &Event) -> Option<SystemTime> {
        event.time().map(|time| SystemTime::from(*time))
    }

    /// Takes events in, behind the [`staged`](OpenGroup::staged) ones of this generation; shows nothing. One attempt, no retry
    /// inside. What is taken in may be lost with the process: the core stages it again. Not called again for the same generation
    /// once its seal was begun, but for a generation that is staged anew.
    ///
    /// The report says what became of the batch. A permanent failure sends an event to the dead letters at once, and is looked for
    /// by halving when it is the whole batch's. In a report per event nothing may be taken in behind an event that is to be tried
    /// again: the order would change.
    fn stage(&self, group: &OpenGroup, batch: &Batch) -> impl Future<Output = WriteReport> + Send;

    /// Shows all events of the generation at once. `Ok` when they are visible and durable in the target. One attempt, no retry
    /// inside. In the same process it may be called again without staging again, when [`sealed`](Self::sealed) says that nothing is
    /// visible.
    ///
    /// # Errors
    /// A retryable failure is tried again without end, under the same token. What a permanent one does,
    /// [`StagingProfile::refused`] says.
    fn seal(&self, seal: &Seal) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Is the generation visible? Asked for each seal record after a crash, and before each repeat of `seal`.
    ///
    /// # Errors
    /// A retryable failure is tried again without end; every other stops the connector.
    fn sealed(&self, seal: &Seal) -> impl Future<Output = Result<Sealed, Failure>> + Send;

    /// Removes what a crash or a shutdown left behind of a group that was open. Called before the first event is staged, and for a
    /// generation that lost all its events. One that can't be removed is the sink's to log: it is not asked again.
    fn discard(&self, handle: &Handle) -> impl Future<Output = ()> + Send {
        let _ = handle;
        async {}
    }

    /// Releases what `open` took. Called once, when nothing else runs.
    ///
    /// # Errors
    /// Something could not be released; the exit code says so.
    fn close(self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}

/// What the core gives to a staging sink when it opens.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StagingContext {
    /// The instance's name (`name:` of the configuration).
    pub name: String,
    /// Largest number of events in a batch.
    pub batch_events: usize,
    /// Calls at the same time, at the most: a pool larger than this is wasted.
    pub in_flight: usize,
}
