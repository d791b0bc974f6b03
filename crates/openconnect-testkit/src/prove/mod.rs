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
//! | `runner.rs` | the program that a connector's `prove.rs` becomes |
//!
//! A connector takes part with a test target of its own, `prove.rs` in its folder, which `cargo xtask prove` finds, builds and runs:
//!
//! ```toml
//! [[test]]
//! name = "prove"
//! path = "prove.rs"
//! harness = false
//! ```
//!
//! ```no_run
//! use openconnect_testkit::prove::fault::Part;
//! use openconnect_testkit::prove::subject::Subject;
//! use openconnect_testkit::subjects::{PIPELINE, SINK_FAILPOINTS, http};
//! use serde_json::json;
//!
//! const SUBJECTS: &[Subject] = &[Subject {
//!     name: "acme-sink",
//!     output: |_| http::endpoint("openconnect-acme-sink", json!({})),
//!     aims: &[Part::Sink, Part::Mesh],
//!     failpoints: SINK_FAILPOINTS,
//!     ..PIPELINE
//! }];
//!
//! fn main() -> std::process::ExitCode {
//!     openconnect_testkit::prove::main(env!("CARGO_MANIFEST_DIR"), SUBJECTS)
//! }
//! ```

use std::time::Duration;

use openconnect_fault::Defect;
pub use openconnect_fault::Failpoint;

use crate::{Result, skip};

pub mod clock;
pub mod fault;
mod host;
mod pipeline;
pub mod plan;
mod proxy;
mod report;
pub mod run;
mod runner;
mod series;
pub mod shrink;
pub mod subject;
pub mod timeline;

pub use runner::main;

use plan::Plan;
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
/// How long after the last fault everything must have arrived, where the subject says nothing else.
pub const RECOVERY: Duration = Duration::from_secs(30);
/// The topic of a run.
const TOPIC: &str = "proof";
/// How often a failing plan is tried with fewer steps.
const SHRINK: usize = 16;

/// Does a target that makes trouble with poison refuse the event of this number?
pub fn poisoned(number: u64) -> bool {
    number % 5 == 2
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
    Err(format!("{} has no failpoints; build it so: cargo {BUILD}", binary.display()).into())
}

/// For a test: can it run? Without failpoints it is skipped.
///
/// # Errors
/// With `CI=true`, when the binaries have no failpoints.
pub fn ready_to_prove() -> Result<bool> {
    match built_for_proof() {
        Ok(()) => Ok(true),
        Err(error) => {
            skip::skipped("the proof of delivery", &error.to_string())?;
            Ok(false)
        }
    }
}

/// How what is proved is built: never a release.
const BUILD: &str = "build --workspace --bins --examples --features \
                     eventmesh-openconnect-fault/failpoints,eventmesh-openconnect-fault/defects";
