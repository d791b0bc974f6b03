//! The program that a connector's `prove.rs` becomes: `cargo xtask prove` builds it and runs it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use super::plan::Plan;
use super::report::{HEADING, Report};
use super::run::{Outcome, run};
use super::series::{Series, series};
use super::subject::Subject;
use super::{built_for_proof, clock, shortest};
use crate::{Result, debian};

/// What is asked for. `cargo xtask prove` hands it on.
#[derive(Debug, Parser)]
#[command(name = "prove")]
enum Command {
    /// The subjects, a line each.
    List,
    /// The regressions of the chosen subjects, then random plans.
    Run(Arguments),
}

#[derive(Debug, clap::Args)]
struct Arguments {
    /// A subject, or `all`.
    #[arg(default_value = "all")]
    subject: String,
    /// Seed of the first run; run n has the seed + n. Random when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs of each subject.
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// Runs at the same time; two for each core when not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// Replays this plan, `runs` times.
    #[arg(long)]
    plan: Option<PathBuf>,
    /// Writes the report here, as JSON.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// The whole of a connector's `prove.rs`. `folder` is its `CARGO_MANIFEST_DIR`: the plans in `regressions/` there, which once
/// failed, are run before the random ones.
///
/// `cargo test` calls it with other arguments, or none: then it only says who runs it.
pub fn main(folder: &str, subjects: &'static [Subject]) -> ExitCode {
    if !matches!(std::env::args().nth(1).as_deref(), Some("list" | "run" | "--help")) {
        println!("the proof of delivery is run by `cargo xtask prove`");
        return ExitCode::SUCCESS;
    }
    match Command::parse() {
        Command::List => {
            subjects.iter().for_each(|subject| println!("{}", subject.name));
            ExitCode::SUCCESS
        }
        Command::Run(arguments) => {
            let runtime = tokio::runtime::Runtime::new();
            let proof = Proof {
                folder: Path::new(folder),
                subjects,
                failures: Vec::new(),
            };
            let held = runtime
                .map_err(Into::into)
                .and_then(|runtime| runtime.block_on(proof.prove(&arguments)));
            match held {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::FAILURE,
                Err(error) => {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}

struct Proof<'a> {
    folder: &'a Path,
    subjects: &'static [Subject],
    failures: Vec<Outcome>,
}

impl Proof<'_> {
    /// True when everything held.
    async fn prove(mut self, arguments: &Arguments) -> Result<bool> {
        built_for_proof()?;
        fetch_faketime();
        let mut report = Report::default();
        match &arguments.plan {
            Some(file) => self.replay(file, arguments.runs, &mut report).await?,
            None => self.random(arguments, &mut report).await?,
        }
        println!("{HEADING}\n{report}");
        if let Some(file) = &arguments.report {
            std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
        }
        // One failure of each subject is made as short as it can be.
        let mut explained = HashSet::new();
        for failure in &self.failures {
            if explained.insert(&failure.plan.subject) {
                explain(self.subject(&failure.plan.subject)?, failure).await?;
            }
        }
        Ok(self.failures.is_empty())
    }

    async fn random(&mut self, arguments: &Arguments, report: &mut Report) -> Result<()> {
        let chosen: Vec<&'static Subject> = match arguments.subject.as_str() {
            "all" => self.subjects.iter().collect(),
            name => vec![self.subject(name)?],
        };
        report.seed = arguments.seed.unwrap_or_else(|| rand::random::<u32>().into());
        if arguments.seed.is_none() {
            self.regressions(&chosen, report).await?;
        }
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let how = Series {
            seed: report.seed,
            runs: arguments.runs,
            jobs: arguments.jobs.unwrap_or(cores * 2),
        };
        println!(
            "seed {}, {} runs of each subject, {} at the same time",
            how.seed, how.runs, how.jobs
        );
        let failures = &mut self.failures;
        series(&chosen, how, report, |outcome| note(outcome, failures)).await
    }

    /// What the proof once found stays found.
    async fn regressions(&mut self, chosen: &[&'static Subject], report: &mut Report) -> Result<()> {
        let folder = self.folder.join("regressions");
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        files.sort();
        for file in files {
            let plan = Plan::read(&file)?;
            if plan.about.is_empty() {
                return Err(format!("{} does not say what it found", file.display()).into());
            }
            let subject = self.subject(&plan.subject)?;
            if chosen.iter().any(|chosen| chosen.name == subject.name) {
                let outcome = run(subject, &plan, None).await;
                report.add(&outcome);
                note(&outcome, &mut self.failures);
            }
        }
        Ok(())
    }

    async fn replay(&mut self, file: &Path, runs: usize, report: &mut Report) -> Result<()> {
        let plan = Plan::read(file)?;
        let subject = self.subject(&plan.subject)?;
        report.seed = plan.seed;
        println!("{plan}");
        for _ in 0..runs {
            let outcome = run(subject, &plan, None).await;
            report.add(&outcome);
            note(&outcome, &mut self.failures);
            if !outcome.violations.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn subject(&self, name: &str) -> Result<&'static Subject> {
        self.subjects.iter().find(|subject| subject.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.subjects.iter().map(|subject| subject.name).collect();
            format!("there is no subject `{name}` here; there are: {}, all", names.join(", ")).into()
        })
    }
}

/// Prints how a run went, and keeps it when it failed.
fn note(outcome: &Outcome, failures: &mut Vec<Outcome>) {
    let (plan, verdict) = (&outcome.plan, &outcome.verdict);
    if outcome.violations.is_empty() {
        let recovery = outcome.recovery.unwrap_or_default();
        println!(
            "ok      {} seed {}: {} events, {} kills, {} repeats, recovered in {:.1} s",
            plan.subject,
            plan.seed,
            verdict.sent,
            outcome.kills,
            verdict.repeated,
            recovery.as_secs_f64()
        );
        return;
    }
    println!("FAILED  {plan}");
    outcome.violations.iter().for_each(|violation| println!("  {violation}"));
    failures.push(outcome.clone());
}

/// Clock jumps need `libfaketime`; on Debian it can be had. Without it the report says what was not tried.
fn fetch_faketime() {
    if clock::library().is_none() {
        let installed = debian::install("faketime");
        println!("installing faketime: {}", if installed { "done" } else { "not possible here" });
    }
}

/// Shrinks a failure, and prints what a person needs to understand and to repeat it.
async fn explain(subject: &'static Subject, failure: &Outcome) -> Result<()> {
    println!("\nlooking for the shortest plan that fails like {} …", failure.plan);
    let shortest = shortest(subject, failure, None).await;
    let name = format!("{}-{}.json", shortest.plan.subject, shortest.plan.seed);
    let file = crate::binary::target()?.join("prove").join(name);
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
