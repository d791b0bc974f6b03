//! `cargo xtask prove`: the proof of delivery, on one connector, the mesh or all.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use openconnect_testkit::prove::plan::Plan;
use openconnect_testkit::prove::report::{HEADING, Report};
use openconnect_testkit::prove::run::{Outcome, run as run_plan};
use openconnect_testkit::prove::subject::Subject;
use openconnect_testkit::prove::{Series, built_for_proof, clock, series, shortest};
use openconnect_testkit::subjects;
use openconnect_testkit::{Result, debian};

use xtask::binaries::workspace;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask prove")]
struct Arguments {
    /// A connector, `mesh`, or `all`. With --plan it may be left out.
    #[arg(default_value = "all")]
    subject: String,
    /// Seed of the first run; run n has the seed + n. Random when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs of each subject.
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// Runs at the same time.
    #[arg(long)]
    parallel: Option<usize>,
    /// Replays this plan, `runs` times.
    #[arg(long)]
    plan: Option<PathBuf>,
    /// Writes the report here, as JSON.
    #[arg(long)]
    report: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(prove(&arguments))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Clock jumps need `libfaketime`; on Debian it can be had. Without it the report says what was not tried.
fn fetch_faketime() {
    if clock::library().is_some() {
        return;
    }
    let installed = debian::install("faketime");
    println!("installing faketime: {}", if installed { "done" } else { "not possible here" });
}

/// True when everything held.
async fn prove(arguments: &Arguments) -> Result<bool> {
    built_for_proof()?;
    fetch_faketime();
    let mut failures = Vec::new();
    let report = match &arguments.plan {
        Some(file) => replay(file, arguments.runs, &mut failures).await?,
        None => random(arguments, &mut failures).await?,
    };
    println!("{HEADING}\n{report}");
    if let Some(file) = &arguments.report {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
    }
    // One of each subject is made as short as it can be.
    let mut told = std::collections::HashSet::new();
    for failure in failures.iter().filter(|failure| told.insert(failure.plan.subject.clone())) {
        tell(failure).await?;
    }
    Ok(failures.is_empty())
}

async fn random(arguments: &Arguments, failures: &mut Vec<Outcome>) -> Result<Report> {
    let chosen: Vec<&'static Subject> = match arguments.subject.as_str() {
        "all" => subjects::ALL.iter().collect(),
        name => of_connector(name)?,
    };
    let seed = arguments.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let parallel = arguments.parallel.unwrap_or(cores * 2);
    println!("seed {seed}, {} runs of each subject, {parallel} at the same time", arguments.runs);
    let how = Series {
        seed,
        runs: arguments.runs,
        parallel,
    };
    let failed = |outcome: &Outcome| {
        println!("FAILED {}", outcome.plan);
        outcome.violations.iter().for_each(|violation| println!("  {violation}"));
        failures.push(outcome.clone());
    };
    Ok(series(&chosen, how, failed).await)
}

async fn replay(file: &Path, runs: usize, failures: &mut Vec<Outcome>) -> Result<Report> {
    let plan = Plan::read(file)?;
    let subject = subject(&plan.subject)?;
    let mut report = Report {
        seed: plan.seed,
        ..Report::default()
    };
    println!("{plan}");
    for _ in 0..runs {
        let outcome = run_plan(subject, &plan, None).await;
        report.add(&outcome);
        if !outcome.violations.is_empty() {
            failures.push(outcome);
            break;
        }
    }
    Ok(report)
}

/// The subjects of a connector: one to several systems has a subject for each, `<connector>-<system>`.
fn of_connector(name: &str) -> Result<Vec<&'static Subject>> {
    let prefix = format!("{name}-");
    let own: Vec<_> = subjects::ALL
        .iter()
        .filter(|subject| subject.name == name || subject.name.starts_with(&prefix))
        .collect();
    if own.is_empty() {
        subject(name).map(|subject| vec![subject])
    } else {
        Ok(own)
    }
}

fn subject(name: &str) -> Result<&'static Subject> {
    subjects::by_name(name).ok_or_else(|| {
        let names: Vec<&str> = subjects::ALL.iter().map(|subject| subject.name).collect();
        format!("there is no subject `{name}`; there are: {}, all", names.join(", ")).into()
    })
}

/// Shrinks a failure, and prints what a person needs to understand and to repeat it.
async fn tell(failure: &Outcome) -> Result<()> {
    println!("\nlooking for the shortest plan that fails like {} …", failure.plan);
    let shortest = shortest(subject(&failure.plan.subject)?, failure, None).await;
    let file = workspace()
        .join("target")
        .join("prove")
        .join(format!("{}-{}.json", shortest.plan.subject, shortest.plan.seed));
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&file, shortest.plan.to_json())?;
    println!("{}\n{}", shortest.plan, shortest.timeline);
    shortest.violations.iter().for_each(|violation| println!("  violated: {violation}"));
    println!(
        "the whole plan again:    cargo xtask prove {} --seed {} --runs 1\nthe shortest one again:  cargo xtask prove --plan {}",
        failure.plan.subject,
        failure.plan.seed,
        file.display()
    );
    Ok(())
}
