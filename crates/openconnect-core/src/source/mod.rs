//! What a source connector's author implements: one `read`, and where its system must be told what is safe, one `commit`.
//!
//! | file | what is in it |
//! |---|---|
//! | `mod.rs` | [`Source`], [`SourceContext`] |
//! | `profile.rs` | [`SourceProfile`]: can it replay, who keeps its positions |
//! | `emitter.rs` | [`Emitter`]: the way into the engine |
//! | `committer.rs` | [`Committer`]: acknowledgements upstream |
//! | `input.rs` | [`Input`]: a topic of the mesh that the source answers |
//! | `upstream.rs` | [`UpstreamOffsets`]: offsets that the system keeps, shown and set by commands |
//! | `runner.rs` | [`SourceRunner`]: a source without the engine, for tests |
//!
//! The core owns the rest: publishing, offsets, retry, back-pressure, shutdown. Of each event it waits for the outcome; an offset
//! moves only over what is resolved without a gap, is made durable, and goes to the committer then.

use std::collections::BTreeMap;
use std::future::Future;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::budget::Budget;
use crate::config::{ConnectorConfig, Limits};
use crate::error::Result;
use crate::failure::Failure;
use crate::record::{Partition, Position};
use crate::store::Store;

mod committer;
mod emitter;
mod input;
mod profile;
mod runner;
mod upstream;

pub use committer::{Committer, NoCommit};
pub use emitter::Emitter;
pub(crate) use emitter::{Admitted, EMIT_QUEUE};
pub(crate) use input::{Ended, give};
pub use input::{Given, Input, InputEvent, InputGiver, Ticket};
pub use profile::{Accept, InputUse, OffsetKeeper, Replay, SourceProfile};
pub use runner::SourceRunner;
use upstream::NoUpstreamOffsets;
pub use upstream::UpstreamOffsets;

/// Can events be taken now: by the mesh, or with [`Accept::Spool`] by the spool? A source that can refuse (HTTP) answers from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    /// Events are being accepted.
    Open,
    /// The mesh can't be reached, or refuses; or the spool is full, or can't be written. What is polled waits.
    Blocked,
    /// Shutting down: nothing new is taken.
    Closed,
}

/// What the core gives to a source when it opens.
#[non_exhaustive]
pub struct SourceContext<P> {
    /// The instance's name (`name:` of the configuration).
    pub name: String,
    /// Saved offsets: the last position up to which everything was resolved, per partition.
    pub offsets: BTreeMap<Partition, P>,
    /// Whether events are taken now.
    pub intake: watch::Receiver<Intake>,
    /// The topic that the source takes as its input; none where the configuration has none.
    pub input: Option<Input>,
    /// `limits.max_event_bytes`: larger events are dead-lettered by the core; a source that can refuse earlier should.
    pub max_event_bytes: usize,
    /// The memory of the process (`limits.memory`). A source that holds bytes before it emits them, such as a request's body or
    /// a page of rows, reserves them here and gives the reservation to the record
    /// ([`Record::with_reservation`](crate::record::Record::with_reservation)).
    pub budget: Budget,
    /// Durable state of the source's own: in the state folder, or in the database of `state.offsets`, where a standby that takes
    /// over finds it. There a process that has lost its lease can write no more (`OC0213`): return that failure from `read`.
    pub store: Store,
    /// Cancelled when the connector shuts down. `read` need not look at it: it is dropped. Tasks that a source has started do.
    pub shutdown: CancellationToken,
}

impl<P> SourceContext<P> {
    /// For a source that runs without the engine, in a test or a measurement: the mesh takes everything, nothing shuts it down,
    /// there is no input ([`Input::alone`] makes one), the store is in memory, and `limits` are the default ones. The engine makes its own.
    pub fn alone(name: &str, offsets: BTreeMap<Partition, P>) -> Self {
        let (_, intake) = watch::channel(Intake::Open);
        Self {
            name: name.to_owned(),
            offsets,
            intake,
            input: None,
            max_event_bytes: usize::try_from(Limits::default().max_event_bytes.0).unwrap_or(usize::MAX),
            budget: Budget::new(&Limits::default()),
            store: Store::in_memory(),
            shutdown: CancellationToken::new(),
        }
    }
}

/// Gets events out of a system.
///
/// The core makes one, calls [`read`](Self::read) again and again in a task of its own, and closes it at the end. The methods are
/// called in this order: [`profile`](Self::profile), [`open`](Self::open), `read`…, [`close`](Self::close). No author needs to
/// know what cancel safety is: a call of `read` is dropped at shutdown only.
///
/// # Example
///
/// A source that counts, and resumes where it was.
///
/// ```
/// use std::time::Duration;
///
/// use openconnect_core::cloudevents::{EventBuilder, EventBuilderV10};
/// use openconnect_core::config::{ConnectorConfig, Problems};
/// use openconnect_core::record::{Partition, Record};
/// use openconnect_core::source::{Emitter, NoCommit, Replay, Source, SourceContext, SourceProfile};
/// use openconnect_core::{Failure, Result};
///
/// /// The `source:` section.
/// #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct CounterConfig {
///     /// The last number.
///     end: u64,
/// }
///
/// impl ConnectorConfig for CounterConfig {
///     fn validate(&self, problems: &mut Problems) {
///         if self.end == 0 {
///             problems.add("end", "is 0");
///         }
///     }
/// }
///
/// openconnect_core::code_table! {
///     /// A number cannot be an event.
///     COUNTER_EVENT,
/// }
///
/// struct CounterSource {
///     next: u64,
///     end: u64,
///     partition: Partition,
/// }
///
/// impl Source for CounterSource {
///     const NAME: &'static str = "counter-source";
///     type Config = CounterConfig;
///     type Position = u64;
///     type Committer = NoCommit;
///
///     fn profile(_: &CounterConfig) -> SourceProfile {
///         SourceProfile::new(Replay::FromPosition)
///     }
///
///     async fn open(config: CounterConfig, cx: SourceContext<u64>) -> Result<(Self, NoCommit)> {
///         let partition = Partition::new("counter");
///         let next = cx.offsets.get(&partition).copied().unwrap_or(1);
///         Ok((Self { next, end: config.end, partition }, NoCommit))
///     }
///
///     async fn read(&mut self, out: &mut Emitter<u64>) -> Result<(), Failure> {
///         if self.next > self.end {
///             out.finish();
///             return Ok(());
///         }
///         let event = EventBuilderV10::new()
///             .id(format!("counter/{}", self.next))
///             .source("/counter")
///             .ty("org.example.count")
///             .build()
///             .map_err(|e| Failure::fatal(COUNTER_EVENT, "a number can't be an event").because(e))?;
///         self.next += 1;
///         out.emit(Record::event(self.partition.clone(), event).with_position(self.next)).await;
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // Without the engine, as a test of a connector does it:
/// use openconnect_core::source::SourceRunner;
/// let offsets = [(Partition::new("counter"), 3)].into();
/// let mut runner: SourceRunner<CounterSource> =
///     SourceRunner::start(CounterConfig { end: 3 }, SourceContext::alone("test", offsets)).await.unwrap();
/// let records = runner.next().await.unwrap();
/// assert_eq!(records[0].position(), Some(&4));
/// assert!(runner.next().await.unwrap().is_empty());
/// # }
/// ```
pub trait Source: Send + Sized + 'static {
    /// The connector's name, e.g. `http-source`.
    const NAME: &'static str;
    /// The `source:` section of the configuration.
    type Config: ConnectorConfig;
    /// Where to resume in one partition; [`NoPosition`](crate::record::NoPosition) where there is none.
    type Position: Position;
    /// Tells the system what is safe; [`NoCommit`] where it need not be told.
    type Committer: Committer<Self::Position>;

    /// What holds under this configuration. Called before anything is opened, also by `check`.
    fn profile(config: &Self::Config) -> SourceProfile;

    /// Can the system be reached, and read? For `check --connect`: it takes nothing, opens no port, and ends by itself. Another
    /// process of the same connector may be running.
    ///
    /// # Errors
    /// What is wrong, and in the hint what to do about it.
    fn check(config: Self::Config) -> impl Future<Output = Result<()>> + Send {
        let _ = config;
        async { Ok(()) }
    }

    /// Opens the offsets of the instance `name` at the system, for `offsets show|set|reset`. Called where [`profile`](Self::profile) says
    /// [`OffsetKeeper::Upstream`], by the command alone: `open` is not called then, and other processes of the instance may be running.
    ///
    /// Without it the commands refuse with `OC0512`. It is written as `async fn upstream_offsets(…) -> Result<impl UpstreamOffsets<u64>>`.
    ///
    /// # Errors
    /// The system can't be reached, or refuses.
    fn upstream_offsets(config: Self::Config, name: &str) -> impl Future<Output = Result<impl UpstreamOffsets<Self::Position>>> + Send {
        let _ = (config, name);
        async { Ok(NoUpstreamOffsets) }
    }

    /// Prepares. Called once, before the first `read`, when this process may read: a standby has waited for its lease by then.
    /// `cx.offsets` has the last durable position of each partition.
    ///
    /// # Errors
    /// What no waiting mends: the process ends. A system that is down is no error here: `read` says so, and connects when the
    /// system is back.
    fn open(config: Self::Config, cx: SourceContext<Self::Position>) -> impl Future<Output = Result<(Self, Self::Committer)>> + Send;

    /// Reads on, and hands what it finds to `out`. Runs in the source's own task, and is never dropped before shutdown: whatever
    /// takes long can be awaited as it is. It may return after each page or stay for as long as a stream lasts.
    ///
    /// `Ok(())` means: call again, at once. So a source that polls sleeps in here. One that has come to its end calls
    /// [`Emitter::finish`] before it returns.
    ///
    /// At shutdown the call is dropped at the `await` where it is. What was emitted is published within
    /// `delivery.shutdown_timeout`; the rest is read again from the stored position after the next start.
    ///
    /// # Errors
    /// One attempt, no retry inside: after a retryable failure the core waits (`delivery.retry`), shows the reason in the status,
    /// and calls again. Any other failure stops the connector, after the positions of all that was confirmed are stored.
    fn read(&mut self, out: &mut Emitter<Self::Position>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Releases what `open` took. Every outcome is known by now, or the shutdown's deadline is over; the committer has ended.
    ///
    /// # Errors
    /// The process then ends with the error's exit code.
    fn close(self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}
