//! The proof proves itself: with each planted defect it goes red, and without one the same plan holds.
#![allow(clippy::unwrap_used, missing_docs)]

use openconnect_fault::{Defect, Failpoint};
use openconnect_sql_fixtures::prove::sqlite;
use openconnect_testkit::prove::fault::{Fault, Link, Part, Trouble};
use openconnect_testkit::prove::plan::{Plan, Step};
use openconnect_testkit::prove::ready_to_prove;
use openconnect_testkit::prove::run::run;
use openconnect_testkit::prove::subject::Subject;
use openconnect_testkit::subjects::{PIPELINE, answers, by_inbox, by_spool, files, lines};
use tokio::task::JoinSet;

/// Runs until a defect must have shown.
const TRIES: usize = 10;
/// Runs at the same time; most of their time they wait.
const PARALLEL: usize = 5;

fn busy(ms: u64) -> Fault {
    target(Trouble::Busy, ms)
}

fn target(trouble: Trouble, ms: u64) -> Fault {
    Fault::Target { trouble, ms }
}

fn kill(part: Part) -> Fault {
    Fault::Kill { part }
}

fn stop() -> Fault {
    Fault::Terminate { part: Part::Sink }
}

fn lost(link: Link) -> Fault {
    Fault::HalfOpen { link, ms: 500 }
}

/// A pipeline in which a defect can show: the plans say what is hit, not the subject.
fn subject(name: &str) -> &'static Subject {
    static HTTP: Subject = PIPELINE;
    static INBOX: Subject = Subject {
        sink_settings: by_inbox,
        ..PIPELINE
    };
    static SPOOL: Subject = Subject {
        source_settings: by_spool,
        ..PIPELINE
    };
    static LINES: Subject = Subject {
        input: lines::input,
        ..PIPELINE
    };
    static ANSWERS: Subject = Subject {
        input: answers::input,
        source_settings: answers::settings,
        ..PIPELINE
    };
    static ANSWERS_INBOX: Subject = Subject {
        input: answers::input,
        source_settings: answers::settings_by_inbox,
        ..PIPELINE
    };
    static TABLE: Subject = Subject {
        output: sqlite::output,
        network_target: false,
        ..PIPELINE
    };
    static FILES: Subject = Subject {
        output: files::output,
        network_target: false,
        ..PIPELINE
    };
    match name {
        "http-sink-inbox" => &INBOX,
        "http-source-spool" => &SPOOL,
        "files-sink" => &FILES,
        "lines-source" => &LINES,
        "answers-source" => &ANSWERS,
        "answers-source-inbox" => &ANSWERS_INBOX,
        "jdbc-sink" => &TABLE,
        _ => &HTTP,
    }
}

/// The subject and the faults under which a defect shows.
fn plan(defect: Defect) -> Plan {
    let (subject, steps) = match defect {
        Defect::AckBeforeWrite | Defect::MeshNoRedelivery => ("http-sink", vec![(0, busy(500)), (200, kill(Part::Sink))]),
        Defect::OffsetBeforeAck => ("lines-source", vec![(0, lost(Link::Source)), (250, kill(Part::Source))]),
        Defect::ReceiptBeforeConfirmation => ("http-source", vec![(0, lost(Link::Source)), (150, kill(Part::Source))]),
        Defect::DropOnShutdown => ("http-sink", vec![(0, busy(1500)), (300, stop()), (300, stop()), (300, stop())]),
        Defect::SwallowedFailure => ("http-sink", vec![(0, target(Trouble::Poison, 500))]),
        Defect::ReorderOnRetry => ("http-sink", vec![(0, busy(300)), (500, busy(300))]),
        Defect::PoisonBatch => ("http-sink", vec![(0, busy(200)), (220, target(Trouble::Poison, 500))]),
        Defect::InboxAckBeforeWrite => (
            "http-sink-inbox",
            vec![(100, kill(Part::Sink)), (400, kill(Part::Sink)), (370, kill(Part::Sink))],
        ),
        Defect::CheckpointAhead => ("http-sink-inbox", vec![(0, busy(600)), (350, kill(Part::Sink))]),
        Defect::ResolveWhenStaged => ("files-sink", vec![(200, kill(Part::Sink)), (250, kill(Part::Sink))]),
        Defect::TakeRepeats => (
            "files-sink",
            vec![(
                100,
                Fault::Failpoint {
                    at: Failpoint::InboxSynced,
                    nth: 4,
                },
            )],
        ),
        Defect::FreshId => (
            "jdbc-sink",
            vec![(
                0,
                Fault::Failpoint {
                    at: Failpoint::Published,
                    nth: 5,
                },
            )],
        ),
        Defect::AlteredPayload => ("http-source", vec![(300, kill(Part::Source))]),
        Defect::MeshAckBeforeAppend => (
            "mesh",
            vec![(
                100,
                Fault::Failpoint {
                    at: Failpoint::MeshBeforeAppend,
                    nth: 4,
                },
            )],
        ),
    };
    planned(subject, steps)
}

/// What shows a defect of the inbox where it is a source's spool.
fn plan_with_spool(defect: Defect) -> Option<Plan> {
    let steps = match defect {
        Defect::InboxAckBeforeWrite => vec![(100, kill(Part::Source)), (400, kill(Part::Source)), (370, kill(Part::Source))],
        Defect::CheckpointAhead => vec![(0, lost(Link::Source)), (250, kill(Part::Source))],
        _ => return None,
    };
    Some(planned("http-source-spool", steps))
}

/// What shows a defect of delivery where a source answers its input.
fn plan_with_input(defect: Defect) -> Option<Plan> {
    let end = || Fault::Terminate { part: Part::Source };
    let (subject, steps) = match defect {
        Defect::AckBeforeWrite => ("answers-source", vec![(200, kill(Part::Source)), (300, kill(Part::Source))]),
        Defect::DropOnShutdown => ("answers-source", vec![(200, end()), (600, end()), (600, end())]),
        // Some questions have no answer, and some meet nobody at first, whatever else goes wrong.
        Defect::SwallowedFailure | Defect::ReorderOnRetry => ("answers-source", vec![(600, Fault::Cut { link: Link::Source })]),
        Defect::ReceiptBeforeConfirmation | Defect::CheckpointAhead => {
            let cut_off = [(150, lost(Link::Source)), (350, kill(Part::Source))];
            ("answers-source-inbox", cut_off.iter().chain(&cut_off).cloned().collect())
        }
        _ => return None,
    };
    Some(planned(subject, steps))
}

fn planned(subject: &str, steps: Vec<(u64, Fault)>) -> Plan {
    Plan {
        about: String::new(),
        subject: subject.to_owned(),
        seed: 0,
        steps: steps.into_iter().map(|(after_ms, fault)| Step { after_ms, fault }).collect(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_planted_defect_is_found_and_nothing_is_found_without() {
    if !ready_to_prove().unwrap() {
        return;
    }
    let room = std::sync::Arc::new(tokio::sync::Semaphore::new(PARALLEL));
    let mut all = JoinSet::new();
    let plans = Defect::ALL.iter().flat_map(|&defect| {
        [Some(plan(defect)), plan_with_spool(defect), plan_with_input(defect)]
            .into_iter()
            .flatten()
            .map(move |plan| (defect, plan))
    });
    for (defect, plan) in plans {
        let (red, green) = (std::sync::Arc::clone(&room), std::sync::Arc::clone(&room));
        let subject = subject(&plan.subject);
        let same = plan.clone();
        all.spawn(async move {
            let _place = green.acquire_owned().await;
            let sound = run(subject, &same, None).await;
            let held = sound.violations.is_empty();
            (
                held,
                format!("{}, without it: {:?}\n{}", defect.name(), sound.violations, sound.timeline),
            )
        });
        all.spawn(async move {
            let _place = red.acquire_owned().await;
            for tried in 1..=TRIES {
                let outcome = run(subject, &plan, Some(defect)).await;
                if !outcome.violations.is_empty() {
                    println!("{}: found in run {tried}: {}", defect.name(), outcome.violations[0]);
                    return (true, String::new());
                }
            }
            (false, format!("{}: not found in {TRIES} runs of {plan}", defect.name()))
        });
    }
    let results = all.join_all().await;
    let wrong: Vec<&String> = results.iter().filter(|(right, _)| !right).map(|(_, told)| told).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
