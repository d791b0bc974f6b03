//! The workspace's own commands, one file each: `cargo xtask <command>`.

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
    /// Formatting, lints, and all tests, with the real binaries.
    Test,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Test => test::run(),
    }
}
