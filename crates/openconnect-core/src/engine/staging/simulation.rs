//! The worker, the inbox and the records against a model of a target, through crashes at every step: each event that was taken
//! must be visible exactly once, in the order of its group.
//!
//! The model shows what is sealed, all of it or a prefix; it forgets or keeps what is only staged when the process crashes. A
//! crash drops the worker where it stands, before or after a step has taken effect.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use cloudevents::{AttributesReader, Event, EventBuilder, EventBuilderV10};
use openconnect_protocol::wire;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::feed::{self, Feeder, Preparer};
use super::records::Records;
use super::sequences;
use super::worker::{Worker, WorkerParts};
use crate::admin::StatusHandle;
use crate::budget::Budget;
use crate::codes::tests::{TARGET_BUSY, TARGET_REFUSES};
use crate::config::{ConnectorConfig, DeadLetterSettings, DeliverySettings, Limits, Problems};
use crate::dead_letter::DeadLetters;
use crate::dead_letter::archive::letters;
use crate::engine::circuit::Circuit;
use crate::engine::intake::{Decoder, IntakeEnds};
use crate::engine::retry::RetryPolicy;
use crate::error::{Exit, Result};
use crate::failure::Failure;
use crate::inbox::{Inbox, InboxOptions};
use crate::sink::{Batch, WriteReport};
use crate::staging::{
    AtShutdown, Group, GroupRules, Handle, OpenGroup, Refused, Repeats, Seal, Sealed, StagingContext, StagingProfile, StagingSink,
};
use crate::transform::Transforms;

/// How long one simulation may take.
const LIMIT: Duration = Duration::from_secs(120);

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct NoConfig {}

impl ConnectorConfig for NoConfig {
    fn validate(&self, _: &mut Problems) {}
}

struct World {
    rng: StdRng,
    /// Of a hundred steps so many fail, and so many are the last of their run.
    failures: u32,
    crashes: u32,
    staged: HashMap<String, Vec<String>>,
    visible: BTreeMap<(String, u64), Vec<String>>,
    /// Under which token what became visible.
    tokens: HashMap<String, (String, u64)>,
    handles: BTreeSet<String>,
    wrong: Vec<String>,
    /// The numbers of events that were confirmed when they came first: those are in the inbox in their order.
    in_order: BTreeSet<u64>,
    /// Does a target that refuses a group refuse it because of one event?
    poison: bool,
}

/// What happens at a step of the sink.
enum Fate {
    Works,
    FailsBefore,
    FailsAfter,
    CrashesBefore,
    CrashesAfter,
}

impl World {
    fn fate(&mut self) -> Fate {
        let draw = self.rng.random_range(0..100);
        let after = self.rng.random_bool(0.5);
        match (draw < self.crashes, draw < self.crashes + self.failures, after) {
            (true, _, false) => Fate::CrashesBefore,
            (true, _, true) => Fate::CrashesAfter,
            (false, true, false) => Fate::FailsBefore,
            (false, true, true) => Fate::FailsAfter,
            (false, false, _) => Fate::Works,
        }
    }

    fn show(&mut self, seal: &Seal, part: bool) {
        let staged = self.staged.get(seal.token()).cloned().unwrap_or_default();
        if staged.len() as u64 != seal.count() {
            self.wrong
                .push(format!("sealed {} of {} staged events", seal.count(), staged.len()));
        }
        let shown = if part {
            self.rng.random_range(0..=staged.len())
        } else {
            staged.len()
        };
        if shown > 0 {
            let place = (seal.group().to_string(), seal.generation());
            if self.tokens.insert(seal.token().to_owned(), place.clone()).is_some() {
                self.wrong.push(format!("sealed twice: {place:?}"));
            }
            self.visible.entry(place).or_default().extend(staged.into_iter().take(shown));
        }
    }
}

#[derive(Clone)]
struct Model {
    world: Arc<Mutex<World>>,
    crashed: Arc<Notify>,
}

impl Model {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// The process is gone: nothing after this happens.
    async fn crash<T>(&self) -> T {
        self.crashed.notify_one();
        std::future::pending().await
    }
}

fn busy() -> Failure {
    Failure::retryable(TARGET_BUSY, "for now")
}

fn poisoned(id: &str) -> bool {
    id.ends_with('7')
}

impl StagingSink for Model {
    const NAME: &'static str = "model-sink";
    type Config = NoConfig;

    fn profile(_: &NoConfig) -> StagingProfile {
        StagingProfile::new(GroupRules::new())
    }

    async fn check(_: NoConfig) -> Result<()> {
        Ok(())
    }

    async fn open(_: NoConfig, _: StagingContext) -> Result<Self> {
        Err(crate::Error::unavailable(TARGET_BUSY, "it is made by the test"))
    }

    fn group(&self, event: &Event) -> Result<Group, Failure> {
        Ok(Group::new(event.ty()))
    }

    async fn stage(&self, group: &OpenGroup, batch: &Batch) -> WriteReport {
        if group.handle().is_none() {
            let handle = format!("of-{}", group.token());
            self.world().handles.insert(handle.clone());
            if let Err(failure) = group.keep(Handle::new(handle)).await {
                return WriteReport::Failed(failure);
            }
        }
        let ids: Vec<String> = batch.events().map(|event| event.id().to_owned()).collect();
        let fate = {
            let mut world = self.world();
            let fate = world.fate();
            if !matches!(fate, Fate::CrashesBefore | Fate::FailsBefore) {
                let known = world.staged.entry(group.token().to_owned()).or_default();
                let short = (known.len() as u64) < group.staged();
                known.truncate(group.staged() as usize);
                known.extend(ids);
                if short {
                    world.wrong.push("less was staged than the worker knows of".to_owned());
                }
            }
            fate
        };
        match fate {
            Fate::Works => WriteReport::Delivered,
            Fate::FailsBefore | Fate::FailsAfter => WriteReport::Failed(busy()),
            Fate::CrashesBefore | Fate::CrashesAfter => self.crash().await,
        }
    }

    async fn seal(&self, seal: &Seal) -> Result<(), Failure> {
        let fate = {
            let mut world = self.world();
            let staged = world.staged.get(seal.token()).cloned().unwrap_or_default();
            if world.poison && staged.iter().any(|id| poisoned(id)) {
                return Err(Failure::permanent(TARGET_REFUSES, "one of them is refused"));
            }
            let fate = world.fate();
            match fate {
                Fate::Works => world.show(seal, false),
                // A message that was cut short, a connection that was lost behind the commit.
                Fate::FailsAfter | Fate::CrashesAfter => world.show(seal, true),
                Fate::FailsBefore | Fate::CrashesBefore => {}
            }
            fate
        };
        match fate {
            Fate::Works => Ok(()),
            Fate::FailsBefore | Fate::FailsAfter => Err(busy()),
            Fate::CrashesBefore | Fate::CrashesAfter => self.crash().await,
        }
    }

    async fn sealed(&self, seal: &Seal) -> Result<Sealed, Failure> {
        let (fate, answer) = {
            let mut world = self.world();
            let place = world.tokens.get(seal.token()).cloned();
            let events = place.and_then(|place| world.visible.get(&place).cloned());
            let answer = events.map_or(Sealed::NotVisible, |events| Sealed::Visible {
                count: events.len() as u64,
                last: events.last().cloned(),
            });
            (world.fate(), answer)
        };
        match fate {
            Fate::Works => Ok(answer),
            Fate::FailsBefore | Fate::FailsAfter => Err(busy()),
            Fate::CrashesBefore | Fate::CrashesAfter => self.crash().await,
        }
    }

    async fn discard(&self, handle: &Handle) {
        self.world().handles.remove(handle.as_str());
    }
}

/// What one simulation is about.
struct Case {
    seed: u64,
    refused: Refused,
    at_shutdown: AtShutdown,
    total: bool,
    /// Small, so that entries are copied.
    inbox_max: u64,
}

/// What was taken, by group.
type Taken = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

/// One process: until it crashes, or, `to_the_end`, until everything is resolved and it has stopped.
async fn process(state: &Path, case: &Case, model: &Model, taken: &Taken, next: &mut u64, to_the_end: bool) -> Option<Exit> {
    // Two calls may crash; the second must not end the next process.
    let model = &Model {
        world: Arc::clone(&model.world),
        crashed: Arc::default(),
    };
    let (records, recovered) = Records::open(state).unwrap();
    let records = Arc::new(records);
    let gone = Arc::downgrade(&records);
    for (token, handle) in recovered.handles {
        model.discard(&handle).await;
        records.forget_handle(&token).unwrap();
    }
    // As little memory as there can be.
    let budget = Budget::with_bytes(0);
    let limit = budget.event_limit(&Limits::default());
    let [_, waiting, reread] = budget.divide([1, 2, 1]);
    let decode = feed::decode(Decoder { limit });
    let options = InboxOptions {
        max_bytes: case.inbox_max,
        staging: true,
        apart: sequences(&recovered.chains),
        drain: false,
        ..InboxOptions::default()
    };
    let (inbox, stored) = reopened(|| Inbox::open(state, &options, waiting.clone(), decode.clone())).await;
    let shutdown = CancellationToken::new();
    let (to_worker, entries) = mpsc::channel(8);
    let (fatal, mut failures) = mpsc::channel(2);
    let feeder = Feeder {
        ends: IntakeEnds {
            fatal,
            shutdown: shutdown.clone(),
        },
    };
    let preparer = Preparer {
        transforms: Arc::new(Transforms::compile(&[], None).unwrap()),
    };
    let reading = AbortOnDropHandle::new(tokio::spawn(feeder.read(stored, preparer.clone(), to_worker)));
    let rules = GroupRules::new()
        .max_events(7)
        .max_age(Some(Duration::from_millis(150)))
        .max_open(4);
    let profile = StagingProfile::new(rules)
        .repeats(Repeats::Known)
        .refused(case.refused)
        .at_shutdown(case.at_shutdown)
        .batch_events(3);
    let mut delivery = DeliverySettings::default();
    delivery.retry.initial.0 = Duration::from_millis(2);
    delivery.retry.max.0 = Duration::from_millis(10);
    delivery.circuit.dead_letters = usize::MAX;
    let appender = inbox.appender();
    let not_durable = Arc::new(AtomicU64::new(0));
    let worker = Worker::new(WorkerParts {
        sink: Arc::new(model.clone()),
        profile,
        total: case.total,
        retry: RetryPolicy::new(&delivery.retry),
        circuit: Circuit::new(&delivery.circuit),
        dead_letters: Arc::new(
            DeadLetters::open(&DeadLetterSettings::default(), state, "model-sink", None)
                .await
                .unwrap(),
        ),
        inbox,
        records,
        chains: recovered.chains,
        reread: Box::new(move |inbox, ranges| inbox.reread(ranges, reread.clone(), decode.clone())),
        preparer,
        status: StatusHandle::new("model", "model-sink", "0"),
        shutdown: shutdown.clone(),
        deadline: Duration::from_secs(20),
    });
    let running = AbortOnDropHandle::new(tokio::spawn(async move { worker.run(entries, &mut failures).await }));
    let arrive = async {
        let many = model.world().rng.random_range(5..60);
        for _ in 0..many {
            // Now and then one that was taken comes once more.
            let again = *next > 1 && model.world().rng.random_bool(0.2);
            let number = if again { model.world().rng.random_range(1..*next) } else { *next };
            *next = (*next).max(number + 1);
            let group = format!("g{}", number % 3);
            let id = format!("e{number}");
            let event = EventBuilderV10::new().id(id.clone()).source("/model").ty(group.clone());
            let event = event.data("text/plain", "x".repeat(900)).build().unwrap();
            let (note, world, open) = (Arc::clone(taken), Arc::clone(&model.world), Arc::clone(&not_durable));
            open.fetch_add(1, Relaxed);
            let done = move || {
                open.fetch_sub(1, Relaxed);
                if !again {
                    world.lock().unwrap().in_order.insert(number);
                }
                let mut taken = note.lock().unwrap();
                let known = taken.entry(group).or_default();
                if !known.contains(&id) {
                    known.push(id);
                }
            };
            let raw = wire::encode(&event, "t").into();
            appender.append_replayed(raw, String::new(), done).await.unwrap();
            let pause = model.world().rng.random_range(0..6);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    };
    tokio::select! {
        () = arrive => {}
        () = model.crashed.notified() => {
            drop(running);
            until(|| gone.strong_count() == 0).await;
            return None;
        }
    }
    if to_the_end {
        let end = Instant::now() + LIMIT;
        let has_outcome = || {
            let (world, dead) = (model.world(), dead(state));
            let shown: BTreeSet<&String> = world.visible.values().flatten().collect();
            let taken = taken.lock().unwrap();
            taken.values().flatten().all(|id| shown.contains(id) || dead.contains(id))
        };
        while (not_durable.load(Relaxed) > 0 || !has_outcome()) && Instant::now() < end && !running.is_finished() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    drop(appender);
    shutdown.cancel();
    let exit = tokio::select! {
        exit = running => Some(exit.unwrap().unwrap()),
        () = model.crashed.notified() => None,
    };
    drop(reading);
    until(|| gone.strong_count() == 0).await;
    exit
}

/// Nothing of a process may go on when the next one begins.
async fn until(done: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < end, "something of a process goes on");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn dead(state: &Path) -> Vec<String> {
    let letters = letters(&DeadLetterSettings::default(), state).unwrap_or_default();
    letters.iter().map(|letter| letter.event.id().to_owned()).collect()
}

/// The threads of the process before have their files open for a moment.
async fn reopened<T>(open: impl Fn() -> Result<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        match open() {
            Ok(opened) => return opened,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn simulate(case: Case) {
    let dir = tempfile::tempdir().unwrap();
    let model = Model {
        crashed: Arc::new(Notify::new()),
        world: Arc::new(Mutex::new(World {
            rng: StdRng::seed_from_u64(case.seed),
            failures: 8,
            crashes: 2,
            staged: HashMap::new(),
            visible: BTreeMap::new(),
            tokens: HashMap::new(),
            handles: BTreeSet::new(),
            wrong: Vec::new(),
            in_order: BTreeSet::new(),
            poison: case.refused == Refused::Halve,
        })),
    };
    let taken = Taken::default();
    let mut next = 1;
    let runs = model.world().rng.random_range(3..7);
    for _ in 0..runs {
        process(dir.path(), &case, &model, &taken, &mut next, false).await;
        let mut world = model.world();
        if world.rng.random_bool(0.5) {
            world.staged.clear();
        }
        world.crashes = world.rng.random_range(1..6);
    }
    {
        let mut world = model.world();
        (world.crashes, world.failures) = (0, 0);
    }
    let exit = process(dir.path(), &case, &model, &taken, &mut next, true).await;
    let world = model.world();
    let context = format!("seed {}", case.seed);
    assert_eq!(exit, Some(Exit::Clean), "{context}");
    assert!(world.wrong.is_empty(), "{context}: {:?}", world.wrong);
    let dead: BTreeSet<String> = dead(dir.path()).into_iter().collect();
    for (group, ids) in &*taken.lock().unwrap() {
        let shown: Vec<&String> = world
            .visible
            .iter()
            .filter(|((of, _), _)| of == group)
            .flat_map(|(_, ids)| ids)
            .collect();
        let expected: Vec<&String> = ids.iter().filter(|id| !dead.contains(*id)).collect();
        // In the order in which they were taken; an event whose confirmation a crash took may be there too.
        let known: Vec<&String> = shown.iter().copied().filter(|id| ids.contains(*id)).collect();
        assert_eq!(
            known.len(),
            known.iter().collect::<BTreeSet<_>>().len(),
            "{context}: {group} has repeats: {shown:?}"
        );
        let missing: Vec<_> = expected.iter().filter(|id| !known.contains(id)).collect();
        assert!(missing.is_empty(), "{context}: {group} misses {missing:?}");
        let numbers = shown.iter().filter_map(|id| id.strip_prefix('e')?.parse().ok());
        let numbers: Vec<u64> = numbers.filter(|number| world.in_order.contains(number)).collect();
        assert!(numbers.is_sorted(), "{context}: {group} is not in order: {numbers:?}");
    }
    let allowed = |id: &String| world.poison && poisoned(id);
    assert!(dead.iter().all(allowed), "{context}: dead letters {dead:?}");
    drop(world);
    let left: Vec<_> = std::fs::read_dir(dir.path().join("staging"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["identity"], "{context}");
}

/// Seeds: a fresh one each time, or `OPENCONNECT_SEED`, and some after it.
async fn simulations(cases: u64, case: impl Fn(u64) -> Case) {
    let given = std::env::var("OPENCONNECT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| rand::rng().random_range(0..1 << 32));
    println!("OPENCONNECT_SEED={seed}");
    for seed in seed..seed + cases {
        simulate(case(seed)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_visible_exactly_once_through_crashes() {
    simulations(6, |seed| Case {
        seed,
        refused: Refused::Stop,
        at_shutdown: AtShutdown::Seal,
        total: seed % 4 == 3,
        inbox_max: 1 << 30,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_visible_exactly_once_and_poison_is_found() {
    simulations(4, |seed| Case {
        seed,
        refused: Refused::Halve,
        at_shutdown: AtShutdown::Keep,
        total: false,
        inbox_max: 4 << 20,
    })
    .await;
}
