//! `cargo xtask test`: what must hold before a change lands; `cargo xtask test <connector>`: what concerns that one.

use std::io::{BufRead, BufReader};
use std::process::{ExitCode, Stdio};
use std::time::Instant;

use xtask::cargo;
use xtask::connectors::{self, Connector};

use crate::check::{self, What};
use crate::prove::FEATURES;
use crate::{prove, subcommand};

/// Runs of each subject of the proof.
const RUNS: usize = 20;

/// What was seen so far.
#[derive(Default)]
struct Seen {
    passed: usize,
    failed: usize,
    steps: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Connectors, as `cargo xtask list` names them; without one, all tests of the workspace.
    connectors: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    if arguments.connectors.is_empty() {
        return all();
    }
    match connectors::named(&arguments.connectors) {
        Ok(chosen) => some(&chosen),
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Lints and tests of these connectors alone, and their proof of delivery.
fn some(chosen: &[Connector]) -> ExitCode {
    let mut seen = Seen::default();
    for connector in chosen {
        let package = connector.package.as_str();
        seen.step(&format!("lints of {}", connector.name), || {
            cargo::runs(&["clippy", "--package", package, "--all-targets", "--", "-D", "warnings"])
        });
    }
    seen.step("binaries", || prove::build());
    // The features that the proof needs belong to it: only a chosen package's can be named.
    let mut packages = vec!["--package", "eventmesh-openconnect-fault"];
    packages.extend(chosen.iter().flat_map(|connector| ["--package", connector.package.as_str()]));
    seen.tests(&packages);
    for connector in chosen {
        seen.step(&format!("proof of delivery of {}", connector.name), || {
            prove::of(&connector.name, RUNS)
        });
    }
    seen.end()
}

/// Runs all steps, also after a failure; says at the end which failed, and how many tests.
fn all() -> ExitCode {
    let mut seen = Seen::default();
    seen.step("formatting", || check::passes(What::Fmt));
    seen.step("lints", || check::passes(What::Clippy));
    // The tests run the binaries as a user does; one build, with failpoints and defects in it, serves all of them.
    seen.step("binaries", || prove::build());
    seen.step("documentation", || {
        xtask::docs::pages(true).inspect_err(|error| println!("{error}")).is_ok()
    });
    seen.tests(&["--workspace"]);
    seen.step("proof of delivery", || prove::of("all", RUNS));
    seen.step("java sdk", || {
        subcommand::built("java").status().is_ok_and(|status| status.success())
    });
    seen.step("authoring", || check::passes(What::Authoring));
    if cargo::runs(&["deny", "--version"]) {
        seen.step("licences, bans, sources", || {
            cargo::runs(&["deny", "check", "licenses", "bans", "sources"])
        });
    } else {
        println!("== licences, bans, sources: skipped, cargo-deny is not installed");
    }
    seen.end()
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

    /// Runs the tests of these packages.
    fn tests(&mut self, packages: &[&str]) {
        let (mut passed, mut failed) = (0, 0);
        self.step("tests", || tests(packages, &mut passed, &mut failed));
        self.passed += passed;
        self.failed += failed;
    }

    fn end(&self) -> ExitCode {
        if !self.steps.is_empty() {
            println!("== failed: {}", self.steps.join(", "));
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.steps.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Runs tests; their output goes on, and their results are added up.
fn tests(packages: &[&str], passed: &mut usize, failed: &mut usize) -> bool {
    let mut cargo = cargo::command();
    cargo.arg("test").args(packages).arg("--no-fail-fast");
    cargo.args(["--features", FEATURES]);
    let child = cargo
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
