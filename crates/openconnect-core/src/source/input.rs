//! A topic of the mesh as a source's input: events come out of it, and what the source emits answers them.

use std::fmt;
use std::sync::Arc;

use cloudevents::{AttributesReader as _, Event};
use ring::digest;
use tokio::sync::{mpsc, oneshot};

use crate::codes;
use crate::failure::Failure;
use crate::outcome::{Outcome, Receipt};

/// Bytes of the hash in [`Ticket::event_id`].
const ID_BYTES: usize = 16;

/// The topic that a source takes as its input (`input:` in the configuration). It is in [`SourceContext::input`](super::SourceContext::input)
/// when the configuration has one and the [profile](super::SourceProfile::with_input) of the source allows it.
///
/// Each event comes with a [`Ticket`], and stays undone until the ticket says how it ended:
///
/// * [`Ticket::done`]: every record that answers it ([`Record::answers`](crate::record::Record::answers)) is emitted. The event is done
///   when each of these records has its outcome: confirmed by the mesh (with [`Accept::Spool`](super::Accept::Spool): durable in the
///   spool), dropped by a transform, or a dead letter. An answer that is lost on the way has the event come again.
/// * [`Ticket::fail`]: it could not be handled. By the kind of the failure it comes again after a wait (`delivery.retry`), becomes a
///   dead letter, or stops the connector.
/// * A ticket that is dropped counts as a retryable failure: nothing is lost with it.
///
/// Until an event is done it is safe, in the mesh or in the inbox on disk (`input.acknowledge`), and no later event of its key is given
/// (`delivery.ordering`). So after a crash some events come again and are answered again, and none is left out; answers whose ids
/// follow from the event's ([`Ticket::event_id`]) are then known as repeats.
///
/// At shutdown `read` is dropped. Records that were emitted get their outcome, and events whose ticket was done are done with
/// them. Every other event comes again after the next start; what its ticket says after that changes nothing.
///
/// # Example
///
/// A source that answers every question twice, and its test without the engine.
///
/// ```
/// use openconnect_core::cloudevents::{AttributesReader, EventBuilder, EventBuilderV10};
/// use openconnect_core::config::ConnectorConfig;
/// use openconnect_core::record::{NoPosition, Partition, Record};
/// use openconnect_core::source::{
///     Emitter, Input, InputUse, NoCommit, Replay, Source, SourceContext, SourceProfile, SourceRunner,
/// };
/// use openconnect_core::{Error, Failure, Result};
///
/// openconnect_core::code_table! {
///     /// Nobody asks.
///     ECHO_INPUT,
///     /// An answer cannot be an event.
///     ECHO_EVENT,
/// }
///
/// #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
/// struct EchoConfig {}
///
/// impl ConnectorConfig for EchoConfig {
///     // `input:` is one of its settings.
///     const TAKES_INPUT: bool = true;
/// }
///
/// struct EchoSource(Input);
///
/// impl Source for EchoSource {
///     const NAME: &'static str = "echo-source";
///     type Config = EchoConfig;
///     type Position = NoPosition;
///     type Committer = NoCommit;
///
///     fn profile(_: &EchoConfig) -> SourceProfile {
///         SourceProfile::new(Replay::ByCaller).with_input(InputUse::Required)
///     }
///
///     async fn open(_: EchoConfig, cx: SourceContext<NoPosition>) -> Result<(Self, NoCommit)> {
///         let input = cx.input.ok_or_else(|| Error::config(ECHO_INPUT, "there is no input"))?;
///         Ok((Self(input), NoCommit))
///     }
///
///     async fn read(&mut self, out: &mut Emitter<NoPosition>) -> Result<(), Failure> {
///         let Some(asked) = self.0.next().await else {
///             out.finish();
///             return Ok(());
///         };
///         for n in 0..2 {
///             let answer = EventBuilderV10::new()
///                 .id(asked.ticket.event_id(n))
///                 .source("/echo")
///                 .ty("org.example.answer")
///                 .build()
///                 .map_err(|e| Failure::fatal(ECHO_EVENT, "an answer can't be an event").because(e))?;
///             out.emit(Record::event(Partition::new("echo"), answer).answers(&asked.ticket)).await;
///         }
///         asked.ticket.done();
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use openconnect_core::outcome::Outcome;
/// let (input, asks) = Input::alone();
/// let mut context = SourceContext::alone("test", Default::default());
/// context.input = Some(input);
/// let mut runner: SourceRunner<EchoSource> = SourceRunner::start(EchoConfig {}, context).await.unwrap();
/// let question = EventBuilderV10::new().id("1").source("/people").ty("org.example.question").build().unwrap();
/// let answered = asks.give(question, 1).await.unwrap();
/// let mut answers = 0;
/// while answers < 2 {
///     for record in runner.next().await.unwrap() {
///         answers += 1;
///         // The mesh confirms it.
///         record.resolve(Outcome::Delivered);
///     }
/// }
/// assert_eq!(answered.ended().await, Ok(()));
/// # }
/// ```
#[derive(Debug)]
pub struct Input {
    events: mpsc::Receiver<InputEvent>,
}

impl Input {
    /// An input, and where its events are given.
    pub(crate) fn new() -> (Self, mpsc::Sender<InputEvent>) {
        let (give, events) = mpsc::channel(1);
        (Self { events }, give)
    }

    /// An input without the engine, and the end that gives its events: for tests of a source. It ends when that end is dropped.
    pub fn alone() -> (Self, InputGiver) {
        let (input, to) = Self::new();
        (input, InputGiver { to })
    }

    /// Waits for the next event; none when there will be no more. Several events may be worked on at the same time, `input.in_flight` at
    /// the most, each of another key. May be dropped while it waits: no event is lost with it.
    pub async fn next(&mut self) -> Option<InputEvent> {
        self.events.recv().await
    }
}

/// An event of the input.
#[derive(Debug)]
pub struct InputEvent {
    /// The event, as `input.transforms` have left it.
    pub event: Arc<Event>,
    /// Says how it ended.
    pub ticket: Ticket,
}

/// Stands for an event of the [`Input`] until it is done.
#[must_use = "a ticket that is dropped has its event come again"]
pub struct Ticket {
    event: Arc<Event>,
    attempt: u32,
    /// None once the ticket has said how it ended.
    open: Option<(Receipt, oneshot::Sender<Result<(), Failure>>)>,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("event", &self.event.id())
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

impl Ticket {
    /// 1 when this process gives the event for the first time; failures of the source count.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// An id for the n-th answer. It follows from `source` and `id` of the event, so that an answer that is given once more, after a crash
    /// for instance, has the same id; and no two events of the input have one in common. It has letters, digits and `-` only, 53 of
    /// them at the most.
    ///
    /// ```
    /// use openconnect_core::cloudevents::{EventBuilder, EventBuilderV10};
    /// use openconnect_core::source::Input;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (mut input, asks) = Input::alone();
    /// let question = EventBuilderV10::new().id("17").source("/people").ty("org.example.question").build().unwrap();
    /// let _answered = asks.give(question, 1).await.unwrap();
    /// let asked = input.next().await.unwrap();
    /// assert_eq!(asked.ticket.event_id(0), "c11e415f1a8a17df16040e72a78dacdc-0");
    /// # asked.ticket.done();
    /// # }
    /// ```
    pub fn event_id(&self, n: u64) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(self.event.source().as_bytes());
        context.update(&[0]);
        context.update(self.event.id().as_bytes());
        let hash = context.finish();
        let mut id: String = hash.as_ref().iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect();
        id.push_str(&format!("-{n}"));
        id
    }

    /// Every record that answers the event was emitted; there may be none. The event is done when each of them has its outcome.
    pub fn done(mut self) {
        self.end(Ok(()));
    }

    /// The event could not be handled, whatever was emitted for it.
    ///
    /// | kind of the failure | what the core does, once the records that were emitted have their outcome |
    /// |---|---|
    /// | `Retryable` | gives the event again after a back-off, or after the time that was named; `delivery.retry.max_attempts` holds |
    /// | `Throttled` | the same, and gives no other event until then |
    /// | `Permanent` | writes a dead letter of the event of the input, with code and reason |
    /// | `Fatal` | stops the connector; the event comes again after the next start |
    pub fn fail(mut self, failure: Failure) {
        self.end(Err(failure));
    }

    /// For a record that answers the event.
    pub(crate) fn receipt(&self) -> Option<Receipt> {
        self.open.as_ref().map(|(receipt, _)| receipt.clone())
    }

    fn end(&mut self, how: Result<(), Failure>) {
        if let Some((receipt, told)) = self.open.take() {
            // First what is told, then that nothing more comes. Nobody listens once the connector has stopped.
            let _ = told.send(how);
            receipt.resolve(Outcome::Delivered);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let reason = "the source has left an event of its input without saying how it ended";
        self.end(Err(Failure::retryable(codes::INPUT_LEFT, reason)));
    }
}

/// How an event of the input ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The ticket was done, and each answer has its outcome.
    Answered,
    /// The ticket was done, and an answer was lost.
    AnswerLost(Failure),
    /// The source says so.
    Failed(Failure),
}

/// An event that was given, until it ends.
#[must_use = "nothing else tells how the event ended"]
#[derive(Debug)]
pub struct Given {
    told: oneshot::Receiver<Result<(), Failure>>,
    answers: oneshot::Receiver<Result<(), Failure>>,
}

/// Gives events to an [`Input::alone`].
#[derive(Debug)]
pub struct InputGiver {
    to: mpsc::Sender<InputEvent>,
}

impl InputGiver {
    /// Gives an event, in its n-th attempt; none when the input was dropped. Waits while the source has not taken the one before.
    pub async fn give(&self, event: Event, attempt: u32) -> Option<Given> {
        let (event, given) = give(Arc::new(event), attempt);
        self.to.send(event).await.ok()?;
        Some(given)
    }
}

impl Given {
    /// Waits until the event is done.
    ///
    /// # Errors
    /// The failure of its ticket, or why an answer has no outcome.
    pub async fn ended(self) -> Result<(), Failure> {
        match self.how_it_ended().await {
            Ended::Answered => Ok(()),
            Ended::AnswerLost(failure) | Ended::Failed(failure) => Err(failure),
        }
    }

    pub(crate) async fn how_it_ended(self) -> Ended {
        // It comes when the ticket and every record have let their receipts go; the ticket has told before.
        let answers = self.answers.await.unwrap_or(Ok(()));
        match (self.told.await, answers) {
            (Ok(Err(failure)), _) => Ended::Failed(failure),
            (Ok(Ok(())), Ok(())) => Ended::Answered,
            (Ok(Ok(())), Err(failure)) => Ended::AnswerLost(failure),
            // A ticket tells when it is dropped.
            (Err(_), _) => Ended::Failed(Failure::retryable(
                codes::INPUT_LEFT,
                "the ticket of an event is gone; this is a bug",
            )),
        }
    }
}

/// An event for the source, and the end where it is told how it ended.
pub(crate) fn give(event: Arc<Event>, attempt: u32) -> (InputEvent, Given) {
    let (answered, answers) = oneshot::channel();
    // Nobody listens once the connector has stopped.
    let receipt = Receipt::telling(|result| _ = answered.send(result));
    let (tell, told) = oneshot::channel();
    let ticket = Ticket {
        event: Arc::clone(&event),
        attempt,
        open: Some((receipt, tell)),
    };
    (InputEvent { event, ticket }, Given { told, answers })
}
