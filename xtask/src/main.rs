//! The workspace's own commands, one file each: `cargo xtask <command>`.

mod bench;
mod demo;
mod java;
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
    Bench {
        /// What to measure.
        subject: bench::Subject,
    },
    /// The main job on this machine, with kills in the middle, and a count at the end.
    Demo,
    /// Formatting, lints, and all tests, with the real binaries.
    Test,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Bench { subject } => bench::run(subject),
        Command::Demo => demo::run(),
        Command::Test => test::run(),
    }
}
