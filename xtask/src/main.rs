//! The workspace's own commands, one file each: `cargo xtask <command>`.

mod affected;
mod bench;
mod binaries;
mod build;
mod cargo;
mod check;
mod connectors;
mod demo;
mod dist;
mod docs;
mod fuzz;
mod git;
mod java;
mod list;
mod new;
mod prove;
mod release;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Which connectors a change touches, by what their binaries are made of.
    Affected(affected::Arguments),
    /// Measures throughput, memory, start and size with release binaries.
    Bench(bench::Arguments),
    /// Builds connectors for release, each alone.
    Build(build::Arguments),
    /// One of the checks, as CI runs it.
    Check {
        /// Which.
        what: check::What,
    },
    /// The main job on this machine, with kills in the middle, and a count at the end.
    Demo,
    /// What users install: tarballs, Debian packages, container images, with all that belongs to them.
    Dist(dist::Arguments),
    /// Makes the reference from the programs, and tries every example.
    Docs(docs::Arguments),
    /// Feeds every decoder with inputs that are to break it; needs cargo-fuzz and nightly.
    Fuzz {
        /// One target only.
        target: Option<String>,
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        time: u64,
    },
    /// The published Java SDK against the mesh.
    Java {
        /// Write what was seen into docs/compatibility.md.
        #[arg(long)]
        write: bool,
    },
    /// The connectors that exist: version, size, guarantee.
    List(list::Arguments),
    /// A connector that works already, against a toy: begin here to write one.
    New(new::Arguments),
    /// Kills, cuts, stalls and fills real pipelines by random plans, and shows that nothing is lost.
    Prove(prove::Arguments),
    /// Makes a version of one connector; refuses what would break those who have the one before.
    Release(release::Arguments),
    /// Formatting, lints, and all tests, with the real binaries; or those of some connectors.
    Test(test::Arguments),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Affected(arguments) => ends(affected::run(&arguments)),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Build(arguments) => ends(build::run(&arguments)),
        Command::Check { what } => check::run(what),
        Command::Demo => demo::run(),
        Command::Dist(arguments) => ends(dist::run(&arguments)),
        Command::Docs(arguments) => ends(docs::run(&arguments)),
        Command::Fuzz { target, time } => fuzz::run(target.as_deref(), time),
        Command::Java { write } => java::command(write),
        Command::List(arguments) => ends(list::run(&arguments)),
        Command::New(arguments) => ends(new::run(&arguments)),
        Command::Prove(arguments) => prove::run(&arguments),
        Command::Release(arguments) => ends(release::run(&arguments)),
        Command::Test(arguments) => test::run(&arguments),
    }
}

fn ends(done: openconnect_testkit::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
