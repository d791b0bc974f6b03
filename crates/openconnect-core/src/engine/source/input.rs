//! A source's input: its events come in as a sink's do, and are given to the source instead of written. What the source says of an
//! event, and what becomes of its answers, is the result of the write.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cloudevents::Event;
use openconnect_error::codes::TASK_ENDED;
use openconnect_fault::Failpoint;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::StatusHandle;
use crate::budget::{Budget, EventLimit};
use crate::codes;
use crate::config::{Acknowledge, InputSettings, MeshSettings, Settings};
use crate::dead_letter::DeadLetters;
use crate::engine::circuit::Circuit;
use crate::engine::delivery::rates::RateLimits;
use crate::engine::delivery::{BatchLimits, DeliveryRules, DeliveryState, DeliveryWorker, Ended, Outcomes, Standing, Tasks, Writer};
use crate::engine::guarantee::{self, Computed};
use crate::engine::intake::{Intake, IntakeParts, IntakeTasks};
use crate::engine::retry::RetryPolicy;
use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::mesh::Subscriber;
use crate::sink::{Batch, Ordering, Target, WriteReport};
use crate::source::{self, Input, InputEvent, InputUse, OffsetKeeper, SourceProfile};
use crate::state::input_folder;
use crate::store::Store;
use crate::transform::Transforms;

/// How long dead letters may still be written once the source has stopped.
const LAST_DEAD_LETTERS: Duration = Duration::from_secs(2);

/// How much of the memory of the input has what was received, and what has come in.
const SHARES: [usize; 2] = [1, 3];

/// Refuses an input that the source does not take, and the absence of one that it needs.
pub(crate) fn fits(connector: &str, takes_input: bool, profile: &SourceProfile, settings: &Settings) -> Result<()> {
    let use_of_input = if takes_input { profile.input } else { InputUse::Never };
    let refused = |reason: String, hint: &str| Err(Error::config(codes::INPUT_REFUSED, reason).hint(hint));
    match (&settings.input, use_of_input) {
        (Some(_), InputUse::Never) => refused(
            format!("input is set, but {connector} takes no topic as its input with this configuration"),
            "Leave input out.",
        ),
        // What has come in is on this machine's disk; a process that takes over the positions would not find it.
        (Some(_), _) if profile.offsets != OffsetKeeper::Nobody => refused(
            format!("input is set, but {connector} reads from positions with this configuration"),
            "Let one instance read from positions and another one take the input.",
        ),
        (None, InputUse::Required) => Err(Error::config(
            codes::INPUT_MISSING,
            format!("{connector} needs a topic as its input with this configuration"),
        )
        .hint("Set input.topic to the topic whose events it shall answer.")),
        _ => Ok(()),
    }
}

/// Compiles what the settings of the input say.
pub(crate) fn transforms(input: &InputSettings) -> Result<Transforms> {
    Transforms::compile(&input.transforms, Some(&input.key))
}

/// Where the input is subscribed to.
fn mesh_of(settings: &Settings, input: &InputSettings) -> MeshSettings {
    MeshSettings {
        topic: input.topic.clone(),
        ..settings.mesh.clone()
    }
}

/// Is there an inbox of an input that an earlier run may have left events in?
pub(super) fn exists(instance: &Path) -> bool {
    input_folder(instance).join("inbox").exists()
}

/// Says what waits for an input that the configuration has no more.
pub(super) fn warn_of_left(instance: &Path) {
    if exists(instance) {
        tracing::warn!(
            folder = %input_folder(instance).display(),
            "there is no `input` any more; what an earlier run may have left in its inbox stays there until there is one"
        );
    }
}

/// The memory of the input.
pub(super) struct InputMemory {
    received: Budget,
    entries: Budget,
    limit: EventLimit,
}

impl InputMemory {
    /// Out of what the input has of the memory of the process.
    pub(super) fn new(budget: Budget, settings: &Settings) -> Self {
        let [received, entries] = budget.divide(SHARES);
        let limit = entries.event_limit(&settings.limits);
        Self { received, entries, limit }
    }

    pub(super) fn parts(&self) -> [Budget; 2] {
        [self.received.clone(), self.entries.clone()]
    }
}

/// What an input is made of.
pub(super) struct InputParts<'a> {
    pub(super) settings: &'a Settings,
    pub(super) input: &'a InputSettings,
    /// The instance's folder.
    pub(super) instance: &'a Path,
    pub(super) transforms: Transforms,
    pub(super) memory: InputMemory,
    /// Events that the source works on at the same time.
    pub(super) in_flight: usize,
    pub(super) dead_letters: DeadLetters,
    pub(super) store: Store,
    pub(super) status: StatusHandle,
    /// Nothing new is taken.
    pub(super) drain: bool,
}

/// An input, and the end that the source gets.
type OpenInput = (PreparedInput, Input);

impl InputParts<'_> {
    /// Subscribes, and begins to take events in; also gives the guarantee of the source with this input, which was enough. None when the
    /// connector was stopped before there was a session.
    pub(super) async fn open(
        self,
        source: Computed,
        mesh_ends: &CancellationToken,
        shutdown: &CancellationToken,
    ) -> Result<Option<(OpenInput, Computed)>> {
        if self.drain {
            return Ok(Some((self.prepare(None, Acknowledge::Inbox)?, source)));
        }
        let mesh = mesh_of(self.settings, self.input);
        let group = self.input.group.as_deref().unwrap_or(&self.settings.name);
        let subscriber = tokio::select! {
            connected = Subscriber::connect(&mesh, group, self.memory.received.clone(), mesh_ends.clone()) => connected?,
            () = shutdown.cancelled() => return Ok(None),
        };
        let acknowledge = guarantee::acknowledge(self.input.acknowledge, &subscriber.capabilities());
        let computed = guarantee::with_input(source, acknowledge, &subscriber.capabilities());
        guarantee::enforce(&computed, self.settings.delivery.require)?;
        self.status.set_guarantee(computed.guarantee);
        Ok(Some((self.prepare(Some(subscriber), acknowledge)?, computed)))
    }

    fn prepare(self, subscriber: Option<Subscriber>, acknowledge: Acknowledge) -> Result<OpenInput> {
        let closing = CancellationToken::new();
        let stop_intake = closing.child_token();
        let intake = Intake::start(IntakeParts {
            folder: &input_folder(self.instance),
            inbox_max: self.settings.state.inbox_max.0,
            acknowledge,
            subscriber,
            transforms: self.transforms,
            limit: self.memory.limit,
            budget: self.memory.entries.clone(),
            shutdown: stop_intake.clone(),
        })?;
        let (input, events) = Input::new();
        let (trouble, troubles) = watch::channel(None);
        let retry = RetryPolicy::new(&self.settings.delivery.retry);
        let writer = Giver {
            events,
            closing: closing.clone(),
            retry,
            status: self.status.clone(),
        };
        let worker = DeliveryWorker {
            writer: Arc::new(writer),
            delivery: DeliveryState::new(rules(self.settings, self.in_flight, retry)),
            outcomes: Outcomes {
                inbox: intake.inbox,
                replay: intake.replay,
                status: self.status.clone(),
            },
            dead_letters: Arc::new(self.dead_letters),
            store: self.store,
            retry,
            flow: self.status.open_input(),
            status: self.status,
            standing: Standing::Part(trouble),
            shutdown: closing.clone(),
            deadline: LAST_DEAD_LETTERS,
            budget: self.memory.entries,
            tasks: Tasks::default(),
        };
        let (entries, mut failures) = (intake.entries, intake.failures);
        let prepared = PreparedInput {
            work: Box::pin(async move { worker.run(entries, &mut failures).await }),
            tasks: intake.tasks,
            closing,
            stop_intake,
            troubles,
        };
        Ok((prepared, input))
    }
}

fn rules(settings: &Settings, in_flight: usize, retry: RetryPolicy) -> DeliveryRules {
    DeliveryRules {
        ordering: settings.delivery.ordering.unwrap_or(Ordering::Key),
        atomic: false,
        // Each event is given, and ends, on its own.
        batch: BatchLimits {
            events: 1,
            bytes: usize::MAX,
            age: Duration::ZERO,
        },
        in_flight: in_flight.max(1),
        retry,
        circuit: Circuit::new(&settings.delivery.circuit),
        rates: RateLimits::default(),
    }
}

/// An input that begins to give events once the source reads.
pub(super) struct PreparedInput {
    work: std::pin::Pin<Box<dyn Future<Output = Ended> + Send>>,
    tasks: IntakeTasks,
    closing: CancellationToken,
    stop_intake: CancellationToken,
    troubles: watch::Receiver<Option<String>>,
}

impl PreparedInput {
    /// Why its events are not answered now.
    pub(super) fn troubles(&self) -> watch::Receiver<Option<String>> {
        self.troubles.clone()
    }

    pub(super) fn start(self) -> InputTasks {
        InputTasks {
            working: Some(AbortOnDropHandle::new(tokio::spawn(self.work))),
            ended: None,
            tasks: self.tasks,
            closing: self.closing,
            stop_intake: self.stop_intake,
        }
    }
}

/// The tasks of an input. They are aborted when this is dropped.
pub(super) struct InputTasks {
    /// None once it has ended.
    working: Option<AbortOnDropHandle<Ended>>,
    ended: Option<std::result::Result<Ended, JoinError>>,
    tasks: IntakeTasks,
    closing: CancellationToken,
    stop_intake: CancellationToken,
}

/// What is left of an input.
pub(super) struct InputLeft {
    /// Events that are in the mesh or in the inbox.
    pub(super) events: u64,
    /// Why it could not go on.
    pub(super) result: std::result::Result<(), Failure>,
}

impl InputLeft {
    /// There is no input.
    pub(super) fn nothing() -> Self {
        Self { events: 0, result: Ok(()) }
    }
}

impl InputTasks {
    /// Waits until the input can't go on, or, with `inbox drain`, until it is empty. Cancel-safe.
    pub(super) async fn ended(&mut self) {
        if let Some(working) = &mut self.working {
            self.ended = Some(working.await);
            self.working = None;
        }
    }

    /// Takes nothing more in.
    pub(super) fn stop_intake(&self) {
        self.stop_intake.cancel();
    }

    /// Ends the input, once every answer has its outcome or is given up: what is undone then stays undone.
    pub(super) async fn close(mut self) -> InputLeft {
        self.closing.cancel();
        self.ended().await;
        self.tasks.close().await;
        let (events, result) = match self.ended {
            Some(Ok(Ended { result, left })) => (left, result),
            Some(Err(e)) => (
                0,
                Err(Failure::fatal(TASK_ENDED, "the task of the input ended abnormally; this is a bug").because(e)),
            ),
            None => (0, Ok(())),
        };
        InputLeft { events, result }
    }
}

/// Gives events to the source.
struct Giver {
    events: mpsc::Sender<InputEvent>,
    /// Cancelled when nothing is given any more, and what is not done stays undone.
    closing: CancellationToken,
    retry: RetryPolicy,
    status: StatusHandle,
}

impl Writer for Giver {
    const WRITTEN: Failpoint = Failpoint::Answered;
    const DEAD_LETTER: Failpoint = Failpoint::InputDeadLetter;
    const FAILING: &'static str = "events of the input are not answered";

    fn target(&self, _: &Event) -> Result<Target, Failure> {
        Ok(Target::ONE)
    }

    async fn write(&self, batch: Batch) -> WriteReport {
        let Some(event) = batch.shared().first() else {
            return WriteReport::Delivered;
        };
        tokio::select! {
            biased;
            report = self.give(event, batch.attempt()) => report,
            () = self.closing.cancelled() => {
                let stopped = Failure::retryable(codes::STOPPED_FIRST, "the connector stopped before the event was answered");
                WriteReport::Failed(stopped)
            }
        }
    }
}

impl Giver {
    /// Gives an event until it ends by its ticket. An answer that is lost is no failure of the source: it is not counted as one.
    async fn give(&self, event: &Arc<Event>, attempt: u32) -> WriteReport {
        let mut lost = 0;
        loop {
            let (event, given) = source::give(Arc::clone(event), attempt);
            if self.events.send(event).await.is_err() {
                let reason = "the source has dropped its input while it reads; this is a bug";
                return WriteReport::Failed(Failure::fatal(codes::INPUT_CLOSED, reason));
            }
            let failure = match given.how_it_ended().await {
                source::Ended::Answered => return WriteReport::Delivered,
                source::Ended::Failed(failure) => return WriteReport::Failed(failure),
                source::Ended::AnswerLost(failure) => failure,
            };
            lost += 1;
            self.status.error(failure.code, failure.reason());
            tokio::time::sleep(self.retry.wait(lost, &failure)).await;
        }
    }
}
