//! `cargo xtask prove`: the proof of delivery, on one connector, the mesh or all.
//!
//! A connector's subjects are its test target `prove`: `prove.rs` in its folder. This command builds these targets and the binaries
//! that they run, runs the targets one after the other, and adds up what they report.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use cargo_metadata::Message;
use serde_json::{Value, json};
use xtask::{Result, binaries, cargo};

/// The features of the binaries that are proved. No release has them.
pub(crate) const FEATURES: &str = "eventmesh-openconnect-fault/failpoints,eventmesh-openconnect-fault/defects";
/// The columns of the reports, in the order of the table.
const COLUMNS: &[&str] = &["runs", "failed", "kills", "events", "lost", "misordered", "repeats"];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A subject such as `http-sink` or `mesh`, or `all`. With --plan it may be left out.
    #[arg(default_value = "all")]
    subject: String,
    /// All subjects of this connector.
    #[arg(long, conflicts_with = "plan")]
    connector: Option<String>,
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

/// Builds the binaries that are tested and proved: one build serves all tests.
pub(crate) fn build() -> bool {
    cargo::runs(&["build", "--workspace", "--bins", "--examples", "--features", FEATURES])
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !build() {
        return Err("can't build the programs".into());
    }
    if prove(arguments, &mut |mut program| program.status().is_ok_and(|status| status.success()))? {
        return Ok(());
    }
    Err("the proof failed".into())
}

/// Runs so many random plans on every subject, or on those of a connector. `run` runs a command and tells whether it succeeded.
/// Needs [`build`]. True when everything held.
pub(crate) fn random_plans(connector: Option<&str>, runs: usize, run: &mut dyn FnMut(Command) -> bool) -> Result<bool> {
    let arguments = Arguments {
        subject: "all".into(),
        connector: connector.map(str::to_owned),
        seed: None,
        runs,
        jobs: None,
        plan: None,
        report: None,
    };
    prove(&arguments, run)
}

/// The test target of a package.
struct Program {
    folder: PathBuf,
    executable: PathBuf,
}

impl Program {
    fn subjects(&self) -> Result<Vec<String>> {
        let output = Command::new(&self.executable).arg("list").output()?;
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }
}

/// Builds the test targets. The whole workspace: with a part of it Cargo would choose other features, and build all again.
fn programs() -> Result<Vec<Program>> {
    let output = cargo::command()
        .args(["test", "--workspace", "--no-run", "--test", "prove", "--features", FEATURES])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(cargo::workspace())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("can't build the proof".into());
    }
    let mut programs = Vec::new();
    for message in Message::parse_stream(output.stdout.as_slice()) {
        if let Message::CompilerArtifact(artifact) = message?
            && artifact.target.name == "prove"
            && let Some(executable) = artifact.executable
            && let Some(folder) = artifact.manifest_path.parent()
        {
            programs.push(Program {
                folder: folder.as_std_path().to_owned(),
                executable: executable.into_std_path_buf(),
            });
        }
    }
    programs.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(programs)
}

/// The subject, and the programs that have it.
fn chosen(arguments: &Arguments) -> Result<(String, Vec<Program>)> {
    let subject = match &arguments.plan {
        Some(file) => {
            let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
            let plan: Value = serde_json::from_slice(&text)?;
            plan["subject"].as_str().ok_or("the plan names no subject")?.to_owned()
        }
        None => arguments.subject.clone(),
    };
    let mut programs = programs()?;
    if let Some(connector) = &arguments.connector {
        programs.retain(|program| program.folder.ends_with(connector));
        if programs.is_empty() {
            return Err(format!("no connector `{connector}` has subjects").into());
        }
    }
    if subject == "all" {
        return Ok((subject, programs));
    }
    let mut known = Vec::new();
    for program in programs {
        let subjects = program.subjects()?;
        if subjects.contains(&subject) {
            return Ok((subject, vec![program]));
        }
        known.extend(subjects);
    }
    known.sort();
    Err(format!("there is no subject `{subject}`; there are: {}, all", known.join(", ")).into())
}

/// Runs the programs and prints the sums. True when everything held.
fn prove(arguments: &Arguments, run: &mut dyn FnMut(Command) -> bool) -> Result<bool> {
    let (subject, programs) = chosen(arguments)?;
    let reports = binaries::target().join("prove").join("reports");
    std::fs::create_dir_all(&reports)?;
    let (mut held, mut sums) = (true, BTreeMap::new());
    for (n, program) in programs.iter().enumerate() {
        let report = reports.join(format!("{n}.json"));
        let _ = std::fs::remove_file(&report);
        let mut command = Command::new(&program.executable);
        command.args(["run", &subject, "--runs", &arguments.runs.to_string()]);
        command.arg("--report").arg(&report);
        binaries::tell_folder(&mut command);
        if let Some(seed) = arguments.seed {
            command.args(["--seed", &seed.to_string()]);
        }
        if let Some(jobs) = arguments.jobs {
            command.args(["--jobs", &jobs.to_string()]);
        }
        if let Some(plan) = &arguments.plan {
            command.arg("--plan").arg(plan);
        }
        held &= run(command);
        // A program that failed early has written none.
        if let Ok(text) = std::fs::read(&report) {
            add(&mut sums, serde_json::from_slice(&text)?);
        }
    }
    if programs.len() > 1 {
        println!("\n{}", table(&sums));
    }
    if let Some(file) = &arguments.report {
        std::fs::write(file, serde_json::to_string_pretty(&json!({ "subjects": sums }))?)?;
    }
    Ok(held)
}

/// Adds a report's subjects.
fn add(sums: &mut BTreeMap<String, Value>, mut report: Value) {
    if let Some(subjects) = report["subjects"].as_object_mut() {
        sums.extend(std::mem::take(subjects));
    }
}

/// The subjects and their sum, for people.
fn table(sums: &BTreeMap<String, Value>) -> String {
    let number = |tally: &Value, column: &str| tally[column].as_u64().unwrap_or(0);
    let line = |name: &str, cells: Vec<String>| cells.iter().fold(format!("{name:<26}"), |line, cell| line + &format!("{cell:>11}"));
    let mut lines = vec![line("subject", COLUMNS.iter().map(|&column| column.to_owned()).collect())];
    for (name, tally) in sums {
        lines.push(line(name, COLUMNS.iter().map(|column| number(tally, column).to_string()).collect()));
    }
    let total = |column: &&str| sums.values().map(|tally| number(tally, column)).sum::<u64>().to_string();
    lines.push(line("all", COLUMNS.iter().map(total).collect()));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reports_of_several_programs_add_up() {
        let mut sums = BTreeMap::new();
        add(
            &mut sums,
            json!({ "subjects": { "a": { "runs": 2, "events": 10 }, "b": { "runs": 1, "lost": 1 } } }),
        );
        add(&mut sums, json!({ "subjects": { "c": { "runs": 4, "events": 5 } } }));
        let table = table(&sums);
        let last: Vec<&str> = table.lines().last().unwrap_or_default().split_whitespace().collect();
        assert_eq!(last, ["all", "7", "0", "0", "15", "1", "0", "0"], "{table}");
    }
}
