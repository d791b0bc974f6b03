//! The proof of delivery: pipelines of real binaries, faults chosen by a seed, and an onlooker who counts what arrived.
//!
//! | file | what is in it |
//! |---|---|
//! | `subject.rs` | what a connector's author writes: how records get in, or how to read back what arrived |
//! | `fault.rs`, `plan.rs` | what can go wrong; what goes wrong in one run, from a seed or a file |
//! | `pipeline.rs` | source, mesh and sink as processes: started, hit, watched, started again |
//! | `proxy.rs`, `clock.rs`, `host.rs` | connections that fail; clocks that jump; what this machine offers |
//! | `run.rs` | one run and its judgement |
//! | `shrink.rs`, `timeline.rs` | the shortest plan that still fails; what happened, for people |
//! | `report.rs` | the sums of many runs |

use std::sync::Arc;
use std::time::Duration;

use openconnect_fault::Defect;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Result;
use crate::services::Server;

pub mod clock;
pub mod fault;
mod host;
mod pipeline;
pub mod plan;
mod proxy;
pub mod report;
pub mod run;
pub mod shrink;
pub mod subject;
pub mod timeline;

use plan::Plan;
use report::Report;
use run::{Outcome, run};
use subject::Subject;

/// Keys of the events of a run.
pub const KEYS: usize = 8;
/// Padding of an event's data.
pub const PADDING: usize = 64;
/// Time between two events of one key.
pub const PAUSE: Duration = Duration::from_millis(8);
/// How long a sink waits for its target.
pub const SINK_TIMEOUT: Duration = Duration::from_millis(800);
/// The topic of a run.
const TOPIC: &str = "proof";
/// How often a failing plan is tried with fewer steps.
const SHRINK: usize = 16;

/// Does a target that makes trouble with poison refuse the event of this number?
pub fn poisoned(number: u64) -> bool {
    number % 5 == 2
}

/// Of so many runs of the other subjects those with a server have one.
const SERVER_RUNS: usize = 4;

/// How a series is run.
#[derive(Debug, Clone, Copy)]
pub struct Series {
    /// The seed of the first run; run n has the seed + n.
    pub seed: u64,
    /// Runs of each subject.
    pub runs: usize,
    /// Runs at the same time.
    pub parallel: usize,
}

/// Runs a series of random plans on each subject. `failed` is told each run that failed.
pub async fn series(subjects: &[&'static Subject], series: Series, mut failed: impl FnMut(&Outcome)) -> Report {
    let mut report = Report {
        seed: series.seed,
        ..Report::default()
    };
    let mut there = Vec::new();
    for &subject in subjects {
        match subject.server {
            Some(system) if matches!(Server::of_process(system).await, Ok(None)) => {
                report.skipped.push(format!("{}: its server can't be had", subject.name));
            }
            _ => there.push(subject),
        }
    }
    let room = Arc::new(Semaphore::new(series.parallel));
    let mut runs = JoinSet::new();
    for n in 0..series.runs {
        // A server takes its time, and its faults hit all runs: fewer, unless it is the one that is asked for.
        let few = |subject: &&&Subject| subjects.len() == 1 || subject.server.is_none() || n % SERVER_RUNS == 0;
        for &subject in there.iter().filter(few) {
            let plan = possible(Plan::random(subject, series.seed.wrapping_add(n as u64)), &mut report.skipped);
            let room = Arc::clone(&room);
            runs.spawn(async move {
                let _place = room.acquire_owned().await;
                run(subject, &plan, None).await
            });
        }
    }
    while let Some(done) = runs.join_next().await {
        let Ok(outcome) = done else { continue };
        report.add(&outcome);
        if !outcome.violations.is_empty() {
            failed(&outcome);
        }
    }
    report
}

/// The plan without what can't be done on this machine; that is noted.
fn possible(mut plan: Plan, skipped: &mut Vec<String>) -> Plan {
    plan.steps.retain(|step| {
        let missing = host::missing(&step.fault);
        if let Some(why) = missing
            && !skipped.iter().any(|known| known == why)
        {
            skipped.push(why.to_owned());
        }
        missing.is_none()
    });
    plan
}

/// The shortest plan that still fails, and how; each is tried twice.
pub async fn shortest(subject: &'static Subject, failing: &Outcome, defect: Option<Defect>) -> Outcome {
    let last = std::cell::RefCell::new(failing.clone());
    shrink::shrink(&failing.plan, SHRINK, async |plan: Plan| {
        for _ in 0..2 {
            let outcome = run(subject, &plan, defect).await;
            if !outcome.violations.is_empty() {
                *last.borrow_mut() = outcome;
                return true;
            }
        }
        false
    })
    .await;
    last.into_inner()
}

/// Were the binaries built with failpoints and defects?
pub fn built_for_proof() -> Result<()> {
    let binary = crate::binary::path("openconnect-mesh")?;
    let contents = std::fs::read(&binary)?;
    let wanted = b"OPENCONNECT_FAILPOINT";
    if contents.windows(wanted.len()).any(|window| window == wanted) {
        return Ok(());
    }
    Err(format!("{} has no failpoints; build it so: cargo {}", binary.display(), BUILD.join(" ")).into())
}

/// For a test: can it run? Without failpoints it says that it is skipped; with `CI=true` that is an error.
pub fn ready_to_prove() -> Result<bool> {
    match built_for_proof() {
        Ok(()) => Ok(true),
        Err(error) if std::env::var("CI").is_ok_and(|ci| ci == "true") => Err(error),
        Err(error) => {
            println!("skipped: {error}");
            Ok(false)
        }
    }
}

/// The arguments with which cargo builds what is proved: never a release.
pub const BUILD: &[&str] = &["build", "--workspace", "--bins", "--examples", "--features", FEATURES];

/// The features of what is proved.
pub const FEATURES: &str = "eventmesh-openconnect-fault/failpoints,eventmesh-openconnect-fault/defects";
