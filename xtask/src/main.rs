//! The workspace's own commands, one file each: `cargo xtask <command>`.

mod bench;
mod cargo;
mod demo;
mod fuzz;
mod java;
mod prove;
mod release;
mod test;

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
    /// Measures throughput, memory, start and size with release binaries.
    Bench(bench::Arguments),
    /// The main job on this machine, with kills in the middle, and a count at the end.
    Demo,
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
    /// Kills, cuts, stalls and fills real pipelines by random plans, and shows that nothing is lost.
    Prove(prove::Arguments),
    /// Formatting, lints, and all tests, with the real binaries.
    Test,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Demo => demo::run(),
        Command::Fuzz { target, time } => fuzz::run(target.as_deref(), time),
        Command::Java { write } => java::command(write),
        Command::Prove(arguments) => prove::run(&arguments),
        Command::Test => test::run(),
    }
}
