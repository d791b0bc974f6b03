//! `cargo xtask test`: what must hold before a change lands; `cargo xtask test <connector>`: what concerns that one.
//!
//! `report.rs`: what was seen, added up.

mod report;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use xtask::connectors::{self, Connector};
use xtask::{binaries, cargo};

use crate::check::{self, What};
use crate::prove::FEATURES;
use crate::{prove, subcommand};
use report::Report;

/// Random plans for each subject of the proof.
const PLANS: usize = 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Connectors, as `cargo xtask list` names them; without one, all tests of the workspace.
    connectors: Vec<String>,
    /// Run these steps only, as `--list` names them.
    #[arg(long = "step", conflicts_with = "connectors")]
    steps: Vec<String>,
    /// List the steps and how long each takes.
    #[arg(long)]
    list: bool,
}

/// One step of `cargo xtask test`.
struct Step {
    name: &'static str,
    about: &'static str,
    /// On 2 cores: with nothing built, and when little has changed.
    takes: [Duration; 2],
    run: fn(&mut Report) -> bool,
}

const fn seconds(first: u64, again: u64) -> [Duration; 2] {
    [Duration::from_secs(first), Duration::from_secs(again)]
}

/// In this order: what is quick and what the others need comes first.
const STEPS: &[Step] = &[
    Step {
        name: "formatting",
        about: "cargo fmt --check",
        takes: seconds(2, 2),
        run: |_| check::passes(What::Fmt),
    },
    Step {
        name: "lints",
        about: "clippy on all targets, warnings denied",
        takes: seconds(112, 10),
        run: |_| check::passes(What::Clippy),
    },
    Step {
        name: "profile",
        about: "every package that a Cargo profile names exists",
        takes: seconds(1, 1),
        run: |_| check::passes(What::Profile),
    },
    Step {
        name: "variants",
        about: "every smaller build of a connector compiles, warnings denied",
        takes: seconds(90, 5),
        run: |_| variants().inspect_err(|error| println!("{error}")).unwrap_or(false),
    },
    // The tests run the binaries as a user does; one build, with failpoints and defects in it, serves all of them.
    Step {
        name: "binaries",
        about: "builds all programs for the steps below",
        takes: seconds(102, 10),
        run: |_| prove::build(),
    },
    Step {
        name: "documentation",
        about: "reference and schemas are fresh, every example is valid; needs `binaries`",
        takes: seconds(5, 5),
        run: |_| xtask::docs::pages(true).inspect_err(|error| println!("{error}")).is_ok(),
    },
    Step {
        name: "tests",
        about: "all unit and integration tests; needs `binaries`",
        takes: seconds(422, 240),
        run: |report| tests(&["--workspace"], report),
    },
    Step {
        name: "proof",
        about: "random faults on real pipelines, 20 plans for each subject; needs `binaries`",
        takes: seconds(101, 101),
        run: |report| proof(None, report),
    },
    Step {
        name: "java",
        about: "EventMesh's Java SDK against the mesh; needs `binaries`, Java and Maven",
        takes: seconds(45, 45),
        run: |report| run(subcommand::built("java"), report),
    },
    Step {
        name: "authoring",
        about: "a new source and a new sink, in a checkout of the last commit, tested and proved",
        takes: seconds(219, 120),
        run: |_| check::passes(What::Authoring),
    },
    Step {
        name: "licences",
        about: "licences, bans and sources of dependencies; needs cargo-deny",
        takes: seconds(3, 3),
        run: licences,
    },
];

pub(crate) fn run_command(arguments: &Arguments) -> ExitCode {
    if arguments.list {
        list();
        return ExitCode::SUCCESS;
    }
    let done = if arguments.connectors.is_empty() {
        chosen(&arguments.steps).map(|steps| all(&steps))
    } else {
        connectors::named(&arguments.connectors).map(|connectors| some(&connectors))
    };
    done.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

/// The steps of these names; all when none is named.
fn chosen(names: &[String]) -> xtask::Result<Vec<&'static Step>> {
    if names.is_empty() {
        return Ok(STEPS.iter().collect());
    }
    let find = |name: &String| {
        let known = || STEPS.iter().map(|step| step.name).collect::<Vec<_>>().join(", ");
        let step = STEPS.iter().find(|step| step.name == name);
        step.ok_or_else(|| format!("there is no step `{name}`; there are: {}", known()).into())
    };
    names.iter().map(find).collect()
}

fn list() {
    println!("{:<14}{:>8}{:>8}  ", "step", "first", "again");
    for step in STEPS {
        let [first, again] = step.takes.map(|takes| format!("{} s", takes.as_secs()));
        println!("{:<14}{first:>8}{again:>8}  {}", step.name, step.about);
    }
    println!("\nTimes are those of 2 cores: with nothing built, and when little has changed.");
    println!("One step:  cargo xtask test --step tests");
    println!("One test:  cargo test --package <package> <name>");
}

/// Runs the steps, also after a failure.
fn all(steps: &[&Step]) -> ExitCode {
    let [first, again] = [0, 1].map(|at| steps.iter().map(|step| step.takes[at].as_secs()).sum::<u64>().div_ceil(60));
    println!(
        "{} steps; on 2 cores about {first} min with nothing built, {again} min when little has changed",
        steps.len()
    );
    let mut report = Report::default();
    for step in steps {
        report.step(step.name, step.run);
    }
    report.end()
}

/// Lints and tests of these connectors alone, and their proof of delivery.
fn some(connectors: &[Connector]) -> ExitCode {
    let mut report = Report::default();
    let packages: Vec<&str> = connectors
        .iter()
        .flat_map(|connector| ["--package", connector.package.as_str()])
        .collect();
    report.step("lints", |_| {
        let lints = [&["clippy"], packages.as_slice(), &["--all-targets", "--", "-D", "warnings"]].concat();
        cargo::runs(&lints)
    });
    report.step("binaries", |_| prove::build());
    // The features that the proof needs belong to this package, and cargo takes features of a chosen package only.
    let tested = [packages.as_slice(), &["--package", "eventmesh-openconnect-fault"]].concat();
    report.step("tests", |report| tests(&tested, report));
    for connector in connectors {
        let name = format!("proof of {}", connector.name);
        report.step(&name, |report| proof(Some(&connector.name), report));
    }
    report.end()
}

/// Connectors with the same variant are checked together, so that they share what is built for it.
fn variants() -> xtask::Result<bool> {
    let mut by_variant: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for connector in connectors::named(&[])? {
        for variant in connector.variants {
            by_variant.entry(variant).or_default().push(connector.package.clone());
        }
    }
    Ok(by_variant.iter().all(|(variant, packages)| {
        let packages: Vec<&str> = packages.iter().flat_map(|package| ["--package", package]).collect();
        let options = ["--no-default-features", "--features", variant, "--", "-D", "warnings"];
        cargo::runs(&[&["clippy"], packages.as_slice(), &options].concat())
    }))
}

fn licences(report: &mut Report) -> bool {
    if cargo::command()
        .args(["deny", "--version"])
        .output()
        .is_ok_and(|deny| deny.status.success())
    {
        return cargo::runs(&["deny", "check", "licenses", "bans", "sources"]);
    }
    report.skipped("licences: cargo-deny is not installed (`cargo xtask check deny` fetches it)");
    true
}

/// Runs the tests of these packages.
fn tests(packages: &[&str], report: &mut Report) -> bool {
    let mut cargo = cargo::command();
    cargo.arg("test").args(packages).arg("--no-fail-fast");
    cargo.args(["--features", FEATURES]);
    // What a passing test prints is shown too: it may say that it was skipped.
    cargo.args(["--", "--show-output"]);
    // Built above, with the same features.
    cargo.env("OPENCONNECT_EXAMPLES_BUILT", "1");
    binaries::tell_folder(&mut cargo);
    run(cargo, report)
}

/// Proves every subject, or those of a connector.
fn proof(connector: Option<&str>, report: &mut Report) -> bool {
    prove::random_plans(connector, PLANS, &mut |program| run(program, report))
        .inspect_err(|error| println!("{error}"))
        .unwrap_or(false)
}

/// Runs a command, and reads from its output what passed, failed and was skipped.
fn run(mut command: Command, report: &mut Report) -> bool {
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            println!("{}: {error}", command.get_program().display());
            return false;
        }
    };
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if report.read(&line) {
                println!("{line}");
            }
        }
    }
    child.wait().is_ok_and(|status| status.success())
}
