//! `cargo xtask test`: what must hold before a change lands.

use std::io::{BufRead, BufReader};
use std::process::{ExitCode, Stdio};
use std::time::Instant;

use openconnect_testkit::prove::{BUILD, FEATURES};

use crate::{cargo, java, prove};

/// Runs of each subject of the proof.
const RUNS: usize = 20;

/// A step: its name and the arguments of cargo.
const STEPS: &[(&str, &[&str])] = &[
    ("formatting", &["fmt", "--all", "--check"]),
    ("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    // The tests run the binaries as a user does; one build, with failpoints and defects in it, serves all of them.
    ("binaries", BUILD),
];

/// What was seen so far.
#[derive(Default)]
struct Seen {
    passed: usize,
    failed: usize,
    steps: Vec<String>,
}

/// Runs all steps, also after a failure; says at the end which failed, and how many tests.
pub(crate) fn run() -> ExitCode {
    let mut seen = Seen::default();
    for (name, arguments) in STEPS {
        seen.step(name, || cargo::runs(arguments));
    }
    let (mut passed, mut failed) = (0, 0);
    seen.step("tests", || tests(&mut passed, &mut failed));
    seen.passed += passed;
    seen.failed += failed;
    seen.step("proof of delivery", || prove::of_all(RUNS));
    seen.java();
    if cargo::runs(&["deny", "--version"]) {
        seen.step("licences, bans, sources", || {
            cargo::runs(&["deny", "check", "licenses", "bans", "sources"])
        });
    } else {
        println!("== licences, bans, sources: skipped, cargo-deny is not installed");
    }
    if !seen.steps.is_empty() {
        println!("== failed: {}", seen.steps.join(", "));
    }
    println!("{} passed, {} failed", seen.passed, seen.failed);
    if seen.steps.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Seen {
    fn step(&mut self, name: &str, step: impl FnOnce() -> bool) {
        println!("== {name}");
        let started = Instant::now();
        let passed = step();
        let how = if passed { "passed" } else { "FAILED" };
        println!("== {name}: {how} in {:.0} s", started.elapsed().as_secs_f64());
        if !passed {
            self.steps.push(name.to_owned());
        }
    }

    /// With `CI=true` a missing Java is a failure.
    fn java(&mut self) {
        let mut ran = (0, 0);
        let demanded = std::env::var("CI").is_ok_and(|ci| ci == "true");
        self.step("java sdk", || match java::run(false) {
            Ok(java::Outcome::Ran(run)) => {
                ran = (run.passed, run.failed);
                run.failed == 0 && run.page_holds
            }
            Ok(java::Outcome::Skipped(reason)) => {
                println!("skipped: {reason}");
                !demanded
            }
            Err(error) => {
                println!("{error}");
                false
            }
        });
        self.passed += ran.0;
        self.failed += ran.1;
    }
}

/// Runs all tests; their output goes on, and their results are added up.
fn tests(passed: &mut usize, failed: &mut usize) -> bool {
    let child = cargo::command()
        .args(["test", "--workspace", "--no-fail-fast", "--features", FEATURES])
        // Built above, with the same features.
        .env("OPENCONNECT_EXAMPLES_BUILT", "1")
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else { return false };
    let Some(output) = child.stdout.take() else { return false };
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        println!("{line}");
        if let Some(result) = line.strip_prefix("test result: ") {
            let count = |what: &str| {
                let words: Vec<&str> = result.split_whitespace().collect();
                let at = words.iter().position(|word| word.trim_end_matches(';') == what)?;
                words.get(at.checked_sub(1)?)?.parse::<usize>().ok()
            };
            *passed += count("passed").unwrap_or(0);
            *failed += count("failed").unwrap_or(0);
        }
    }
    child.wait().is_ok_and(|status| status.success())
}
