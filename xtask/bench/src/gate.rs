//! This tree against other binaries: the same load on both, in turn.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use openconnect_testkit::Result;

use crate::report::Series;
use crate::run::Setup;
use crate::suite::head_and_base;
use xtask::cargo::workspace;
use xtask::git;

/// What counts as slower beyond the noise of the machine.
const SLOWER: f64 = 0.95;

/// What this tree is held against.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Against {
    /// A commit, a tag for instance; it is built.
    #[arg(long = "against")]
    commit: Option<String>,
    /// A folder of binaries, a release for instance.
    #[arg(long)]
    binaries: Option<PathBuf>,
}

/// Fails when the whole interval of a ratio lies below [`SLOWER`] and below the interval of the control.
pub(crate) async fn run(head: &Setup, against: &Against, rounds: usize) -> Result<ExitCode> {
    let base = match (&against.commit, &against.binaries) {
        (Some(commit), _) => build(commit)?,
        (None, Some(folder)) => folder.clone(),
        (None, None) => return Err("against what?".into()),
    };
    let setup = Setup {
        warm_up: head.warm_up / 3,
        counted: head.counted / 2,
        ..head.clone()
    };
    let all = head_and_base(&setup, &base, rounds).await?;
    let slower = all.chunks(2).filter(|pair| is_slower(pair)).map(|pair| pair[1].name.as_str());
    let slower: Vec<&str> = slower.collect();
    if slower.is_empty() {
        println!("not slower");
        return Ok(ExitCode::SUCCESS);
    }
    println!("slower: {}", slower.join(", "));
    Ok(ExitCode::FAILURE)
}

fn is_slower(pair: &[Series]) -> bool {
    match (pair[0].ratio(), pair.get(1).and_then(Series::ratio)) {
        (Some(control), Some(ratio)) => ratio.high < SLOWER.min(control.low),
        _ => false,
    }
}

/// The release binaries of a commit, from a checkout below `target`.
fn build(commit: &str) -> Result<PathBuf> {
    let checkout = workspace().join("target/bench-base");
    git::checkout(commit, &checkout)?;
    println!("building {commit} (the first time takes minutes)");
    let target = workspace().join("target/bench-base-target");
    let mut cargo = xtask::cargo::command();
    // All that it has: a connector may be younger.
    cargo
        .args(["build", "--release", "--workspace", "--exclude", "xtask*", "--bins"])
        .env("CARGO_TARGET_DIR", &target);
    let built = cargo.current_dir(&checkout).status()?;
    git::remove_checkout(&checkout)?;
    if built.success() {
        Ok(target.join("release"))
    } else {
        Err(format!("{commit} could not be built").into())
    }
}
