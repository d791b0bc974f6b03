//! `cargo xtask test`: what must hold before a change lands.

use std::process::{Command, ExitCode};
use std::time::Instant;

/// A step: its name and the arguments of cargo.
const STEPS: &[(&str, &[&str])] = &[
    ("formatting", &["fmt", "--all", "--check"]),
    ("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    // The tests of delivery run the binaries as a user does.
    ("binaries", &["build", "--workspace", "--bins"]),
    ("tests", &["test", "--workspace", "--no-fail-fast"]),
];

/// Runs all steps, also after a failure, and says at the end which failed.
pub(crate) fn run() -> ExitCode {
    let mut failed = Vec::new();
    for (name, arguments) in STEPS {
        if !step(name, arguments) {
            failed.push(*name);
        }
    }
    if cargo(&["deny", "--version"]) {
        if !step("licences, bans, sources", &["deny", "check", "licenses", "bans", "sources"]) {
            failed.push("licences, bans, sources");
        }
    } else {
        println!("== licences, bans, sources: skipped, cargo-deny is not installed");
    }
    if failed.is_empty() {
        println!("== every step passed");
        return ExitCode::SUCCESS;
    }
    println!("== failed: {}", failed.join(", "));
    ExitCode::FAILURE
}

fn step(name: &str, arguments: &[&str]) -> bool {
    println!("== {name}: cargo {}", arguments.join(" "));
    let started = Instant::now();
    let passed = cargo(arguments);
    println!(
        "== {name}: {} in {:.0} s",
        if passed { "passed" } else { "FAILED" },
        started.elapsed().as_secs_f64()
    );
    passed
}

fn cargo(arguments: &[&str]) -> bool {
    Command::new(env!("CARGO"))
        .args(arguments)
        .status()
        .is_ok_and(|status| status.success())
}
