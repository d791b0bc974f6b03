//! The state against a model, for any order of arrivals, results, pauses and shutdown.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::queues::BatchLimits;
use super::rates::RateLimits;
use super::state::*;
use crate::codes::EVENT_UNREADABLE;
use crate::codes::tests::{TARGET_BUSY, TARGET_REFUSES};
use crate::config::{CircuitSettings, RateLimit, RateScope, RetrySettings};
use crate::duration::HumanDuration;
use crate::engine::circuit::Circuit;
use crate::engine::retry::RetryPolicy;
use crate::failure::Failure;
use crate::sink::{Ordering, Target, WriteReport};

#[derive(Debug, Clone, PartialEq)]
struct Item {
    id: usize,
    key: Option<u64>,
    target: Target,
    arrived: Instant,
    /// Every write that holds it is refused.
    poison: bool,
    /// Refused on arrival: it has no place in the order.
    rejected: bool,
}

impl Deliverable for Item {
    fn key(&self) -> Option<u64> {
        self.key
    }
    fn target(&self) -> &Target {
        &self.target
    }
    fn bytes(&self) -> usize {
        10
    }
    fn arrived(&self) -> Instant {
        self.arrived
    }
}

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    Arrive {
        key: u8,
        target: u8,
        poison: bool,
    },
    Unreadable,
    Pass(u64),
    /// Ends the write at this index of those that run.
    End(usize, Answer),
    /// Makes the dead letter at this index durable.
    Bury(usize),
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Honest,
    PerEvent,
    Retry,
    Throttle(u64),
    /// Each event for itself: the bits say which are retried.
    Some(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let answer = prop_oneof![
        4 => Just(Answer::Honest),
        2 => Just(Answer::PerEvent),
        2 => Just(Answer::Retry),
        1 => (1u64..500).prop_map(Answer::Throttle),
        2 => any::<u8>().prop_map(Answer::Some),
    ];
    let step = prop_oneof![
        6 => (0u8..6, 0u8..3, prop::bool::weighted(0.15)).prop_map(|(key, target, poison)| Step::Arrive { key, target, poison }),
        1 => Just(Step::Unreadable),
        3 => (0u64..400).prop_map(Step::Pass),
        5 => (any::<usize>(), answer).prop_map(|(at, answer)| Step::End(at, answer)),
        2 => any::<usize>().prop_map(Step::Bury),
    ];
    prop::collection::vec(step, 0..120)
}

fn rules(ordering: Ordering, atomic: bool, in_flight: usize) -> DeliveryRules {
    DeliveryRules {
        ordering,
        atomic,
        batch: BatchLimits {
            events: 4,
            bytes: 1000,
            age: Duration::from_millis(50),
        },
        in_flight,
        retry: RetryPolicy::new(&RetrySettings::default()),
        circuit: Circuit::new(&CircuitSettings {
            dead_letters: usize::MAX,
            window: 10,
        }),
        rates: RateLimits::default(),
    }
}

fn failure(after: Option<u64>) -> Failure {
    match after {
        Some(ms) => Failure::throttled(Duration::from_millis(ms), TARGET_BUSY, "throttled"),
        None => Failure::retryable(TARGET_BUSY, "not now"),
    }
}

/// A running write: target, ids with keys, poison among them.
type Running = (JobId, Target, Vec<Item>);

struct Model {
    state: DeliveryState<Item>,
    ordering: Ordering,
    atomic: bool,
    in_flight: usize,
    now: Instant,
    arrived: Vec<Item>,
    running: Vec<Running>,
    dead_letters: Vec<DeadLetterId>,
    outcomes: BTreeMap<usize, Outcome>,
    paused: HashMap<Target, Instant>,
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Delivered,
    DeadLettered,
}

impl Model {
    fn new(ordering: Ordering, atomic: bool, in_flight: usize) -> Self {
        Self {
            state: DeliveryState::new(rules(ordering, atomic, in_flight)),
            ordering,
            atomic,
            in_flight: if ordering == Ordering::Total { 1 } else { in_flight },
            now: Instant::now(),
            arrived: Vec::new(),
            running: Vec::new(),
            dead_letters: Vec::new(),
            outcomes: BTreeMap::new(),
            paused: HashMap::new(),
        }
    }

    fn key(&self, item: &Item) -> Option<u64> {
        match self.ordering {
            _ if item.rejected => None,
            Ordering::None => None,
            Ordering::Key => item.key,
            Ordering::Total => Some(0),
        }
    }

    fn item(&mut self, key: u8, target: u8, poison: bool) -> Item {
        let item = Item {
            id: self.arrived.len(),
            key: (key > 0).then_some(u64::from(key)),
            target: if target == 0 {
                Target::ONE
            } else {
                Target::new(target.to_string())
            },
            arrived: self.now,
            poison,
            rejected: false,
        };
        self.arrived.push(item.clone());
        item
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Arrive { key, target, poison } => {
                let item = self.item(key, target, poison);
                self.state.accept(item);
            }
            Step::Unreadable => {
                let mut item = self.item(0, 0, true);
                item.rejected = true;
                self.arrived[item.id].rejected = true;
                let id = self.state.reject(item, Failure::permanent(EVENT_UNREADABLE, "unreadable"));
                self.dead_letters.extend(id.ok());
            }
            Step::Pass(ms) => self.now += Duration::from_millis(ms),
            Step::End(at, answer) if !self.running.is_empty() => self.end(at % self.running.len(), answer),
            Step::Bury(at) if !self.dead_letters.is_empty() => self.bury(at % self.dead_letters.len()),
            Step::End(..) | Step::Bury(_) => {}
        }
        self.start();
    }

    /// Starts all writes that may start, and checks each.
    fn start(&mut self) {
        loop {
            let started = match self.state.next_write(self.now) {
                Some(write) => (write.job, write.target.clone(), write.entries.to_vec()),
                None => return,
            };
            let (_, target, items) = &started;
            assert!(!items.is_empty() && items.len() <= 4, "size of a batch");
            assert!(items.iter().all(|item| item.target == *target), "one target a batch");
            let paused = self.paused.get(target).is_some_and(|until| *until > self.now);
            assert!(!paused || self.state.is_draining(), "the target is paused");
            for (at, item) in items.iter().enumerate() {
                assert!(!self.outcomes.contains_key(&item.id), "written after its outcome");
                let running = |running: &Running| running.2.iter().any(|other| other.id == item.id);
                assert!(!self.running.iter().any(running), "written twice at once");
                let Some(key) = self.key(item) else { continue };
                let earlier = self.arrived[..item.id].iter().filter(|one| self.key(one) == Some(key));
                for one in earlier {
                    let before_it = items[..at].iter().any(|other| other.id == one.id);
                    let resolved = self.outcomes.contains_key(&one.id);
                    assert!(resolved || (self.atomic && before_it), "{} overtakes {}", item.id, one.id);
                }
            }
            self.running.push(started);
            assert!(self.running.len() <= self.in_flight, "writes in flight");
        }
    }

    fn end(&mut self, at: usize, answer: Answer) {
        let (job, target, items) = self.running.swap_remove(at);
        let honest = |item: &Item| match item.poison {
            true => Err(Failure::permanent(TARGET_REFUSES, "poison")),
            false => Ok(()),
        };
        // An atomic batch is written whole or not at all: no event of a key is delivered while an earlier one is retried.
        let answer = match answer {
            Answer::Some(_) if self.atomic => Answer::Retry,
            other => other,
        };
        let report = match answer {
            Answer::Honest if items.iter().any(|item| item.poison) => WriteReport::Failed(Failure::permanent(TARGET_REFUSES, "poison")),
            Answer::Honest => WriteReport::Delivered,
            Answer::PerEvent => WriteReport::PerEvent(items.iter().map(honest).collect()),
            Answer::Retry => WriteReport::Failed(failure(None)),
            Answer::Throttle(ms) => {
                if !self.state.is_draining() {
                    let until = self.now + Duration::from_millis(ms);
                    let known = self.paused.entry(target).or_insert(until);
                    *known = until.max(*known);
                }
                WriteReport::Failed(failure(Some(ms)))
            }
            Answer::Some(bits) => {
                let results = items.iter().enumerate();
                let result = |(at, item): (usize, &Item)| if bits >> at & 1 == 1 { Err(failure(None)) } else { honest(item) };
                WriteReport::PerEvent(results.map(result).collect())
            }
        };
        let finished = self.state.write_finished(job, report, self.now);
        assert_eq!(finished.fatal, None);
        for item in finished.delivered {
            assert!(!item.poison, "delivered what is refused");
            self.resolve(item.id, Outcome::Delivered);
        }
        self.dead_letters.extend(finished.dead_letters);
    }

    fn bury(&mut self, at: usize) {
        let id = self.dead_letters.swap_remove(at);
        let pending = self.state.dead_letter_written(id).expect("a dead letter that was asked for");
        assert!(pending.entry.poison, "a dead letter of what the target takes");
        self.resolve(pending.entry.id, Outcome::DeadLettered);
    }

    fn resolve(&mut self, id: usize, outcome: Outcome) {
        assert_eq!(self.outcomes.insert(id, outcome), None, "{id} resolved twice");
    }

    /// Ends everything that runs, with honest answers, for as long as there is something.
    fn finish(&mut self) {
        for _ in 0..10_000 {
            while !self.dead_letters.is_empty() {
                self.bury(0);
            }
            self.start();
            if !self.running.is_empty() {
                self.end(0, Answer::Honest);
            } else if let Some(at) = self.state.next_wake() {
                self.now = self.now.max(at);
            } else if self.dead_letters.is_empty() {
                return;
            }
        }
        panic!("no end");
    }
}

fn orderings() -> impl Strategy<Value = (Ordering, bool, usize)> {
    let ordering = prop_oneof![Just(Ordering::None), Just(Ordering::Key), Just(Ordering::Total)];
    (ordering, any::<bool>(), 1usize..5)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing is lost or resolved twice, exactly the poison becomes dead letters, keys keep their order, limits hold.
    #[test]
    fn every_entry_gets_its_one_outcome((ordering, atomic, in_flight) in orderings(), steps in steps()) {
        let mut model = Model::new(ordering, atomic, in_flight);
        steps.into_iter().for_each(|step| model.step(step));
        model.finish();
        prop_assert_eq!(model.state.unresolved(), 0);
        prop_assert_eq!(model.outcomes.len(), model.arrived.len());
        for item in &model.arrived {
            let right = if item.poison { Outcome::DeadLettered } else { Outcome::Delivered };
            prop_assert_eq!(&model.outcomes[&item.id], &right);
        }
    }

    /// A shutdown at any moment ends without waiting for a timer; what has no outcome is counted, and nothing overtakes it.
    #[test]
    fn a_shutdown_waits_for_no_timer((ordering, atomic, in_flight) in orderings(), before in steps(), after in steps()) {
        let mut model = Model::new(ordering, atomic, in_flight);
        before.into_iter().for_each(|step| model.step(step));
        model.state.drain();
        let ended = model.now;
        let goes_on = after.into_iter().filter(|step| matches!(step, Step::End(..) | Step::Bury(_)));
        goes_on.for_each(|step| model.step(step));
        model.finish();
        prop_assert!(model.state.is_idle());
        prop_assert_eq!(model.now, ended);
        prop_assert_eq!(model.state.unresolved() + model.outcomes.len(), model.arrived.len());
    }
}

fn model(ordering: Ordering, atomic: bool, in_flight: usize, entries: &[(u8, u8, bool)]) -> Model {
    let mut model = Model::new(ordering, atomic, in_flight);
    for &(key, target, poison) in entries {
        let item = model.item(key, target, poison);
        model.state.accept(item);
    }
    model.now += Duration::from_secs(1);
    model
}

fn ids(model: &Model) -> BTreeSet<Vec<usize>> {
    let running = model.running.iter();
    running.map(|(_, _, items)| items.iter().map(|item| item.id).collect()).collect()
}

#[test]
fn a_throttled_target_pauses_itself_and_no_other() {
    let mut model = model(Ordering::Key, false, 4, &[(1, 1, false), (2, 2, false)]);
    model.start();
    assert_eq!(ids(&model), [vec![0], vec![1]].into());
    model.end(0, Answer::Throttle(1_000));
    model.step(Step::Arrive {
        key: 3,
        target: 1,
        poison: false,
    });
    model.step(Step::Arrive {
        key: 4,
        target: 2,
        poison: false,
    });
    model.end(0, Answer::Honest);
    model.step(Step::Pass(100));
    assert_eq!(ids(&model), [vec![3]].into(), "the paused target waits");
    model.step(Step::Pass(900));
    assert_eq!(ids(&model), [vec![0], vec![2], vec![3]].into());
}

#[test]
fn an_entry_waits_for_an_earlier_one_of_its_key_in_another_target() {
    let mut model = model(Ordering::Key, true, 4, &[(1, 1, false), (1, 2, false), (1, 1, false)]);
    model.start();
    assert_eq!(ids(&model), [vec![0]].into());
    model.end(0, Answer::Honest);
    model.start();
    assert_eq!(ids(&model), [vec![1]].into());
}

#[test]
fn an_atomic_batch_takes_several_entries_of_one_key_in_order() {
    let mut model = model(
        Ordering::Key,
        true,
        4,
        &[(1, 0, false), (1, 0, false), (2, 0, false), (1, 0, false)],
    );
    model.start();
    assert_eq!(ids(&model), [vec![0, 1, 3, 2]].into());
}

#[test]
fn a_rate_is_spent_by_event_and_holds_up_its_own_target_alone() {
    let mut model = model(
        Ordering::None,
        false,
        4,
        &[(0, 1, false), (0, 1, false), (0, 1, false), (0, 2, false)],
    );
    *model.state.rates() = RateLimits::new(vec![RateLimit {
        count: NonZeroU32::new(2).expect("not 0"),
        per: HumanDuration(Duration::from_secs(60)),
        by: RateScope::Target,
    }]);
    model.start();
    assert_eq!(ids(&model), [vec![0, 1], vec![3]].into());
    model.end(0, Answer::Honest);
    model.end(0, Answer::Honest);
    model.step(Step::Pass(59_000));
    assert_eq!(ids(&model), BTreeSet::new());
    let wake = model.state.next_wake().expect("a time");
    model.step(Step::Pass(2_000));
    assert!(wake <= model.now);
    assert_eq!(ids(&model), [vec![2]].into());
    // Another attempt is another message.
    model.end(0, Answer::Retry);
    model.step(Step::Pass(1_000));
    assert_eq!(ids(&model), [vec![2]].into());
    model.end(0, Answer::Retry);
    model.step(Step::Pass(30_000));
    assert_eq!(ids(&model), BTreeSet::new());
    model.state.drain();
    model.start();
    assert!(model.state.is_idle() && ids(&model).is_empty());
    assert_eq!(model.state.unresolved(), 1);
}

#[test]
fn with_little_memory_a_batch_does_not_wait_until_it_is_full() {
    let mut model = model(Ordering::None, false, 4, &[]);
    model.step(Step::Arrive {
        key: 0,
        target: 1,
        poison: false,
    });
    assert_eq!(ids(&model), BTreeSet::new());
    model.state.set_memory_short(true);
    model.start();
    assert_eq!(ids(&model), [vec![0]].into());
    model.state.set_memory_short(false);
    model.step(Step::Arrive {
        key: 0,
        target: 1,
        poison: false,
    });
    assert_eq!(ids(&model), [vec![0]].into());
}

#[test]
fn bisecting_takes_no_more_writes_than_it_needs() {
    let poison_at_5 = |at| (0, 0, at == 5);
    let mut model = Model::new(Ordering::None, true, 1);
    model.state = DeliveryState::new(DeliveryRules {
        batch: BatchLimits {
            events: 8,
            ..rules(Ordering::None, true, 1).batch
        },
        ..rules(Ordering::None, true, 1)
    });
    for (key, target, poison) in (0..8).map(poison_at_5) {
        let item = model.item(key, target, poison);
        model.state.accept(item);
    }
    let mut writes = 0;
    while let Some(write) = model.state.next_write(model.now) {
        writes += 1;
        let (job, refused) = (write.job, write.entries.iter().any(|item| item.poison));
        let report = if refused {
            WriteReport::Failed(Failure::permanent(TARGET_REFUSES, "poison"))
        } else {
            WriteReport::Delivered
        };
        let finished = model.state.write_finished(job, report, model.now);
        finished
            .dead_letters
            .into_iter()
            .for_each(|id| drop(model.state.dead_letter_written(id)));
    }
    assert_eq!((writes, model.state.unresolved()), (7, 0));
}
