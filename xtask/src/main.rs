//! The workspace's own commands, one file each: `cargo xtask <command>`.

mod demo;
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
    /// The main job on this machine, with kills in the middle, and a count at the end.
    Demo,
    /// Formatting, lints, and all tests, with the real binaries.
    Test,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Demo => demo::run(),
        Command::Test => test::run(),
    }
}
