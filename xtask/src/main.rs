//! The workspace's own commands, one file each: `cargo xtask <command>`. `subcommand.rs`: those that are packages of their own.

mod affected;
mod build;
mod check;
mod fuzz;
mod list;
mod new;
mod prove;
mod subcommand;
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
    /// Prints which connectors a change affects, by what their binaries are built of.
    Affected(affected::Arguments),
    /// Measures throughput, memory, start and size with release binaries.
    Bench(subcommand::Arguments),
    /// Builds connectors for release, each alone.
    Build(build::Arguments),
    /// Runs one of the checks, as CI does.
    Check {
        /// Which.
        what: check::What,
    },
    /// Runs a pipeline on this machine, kills parts of it, and counts what arrived.
    Demo(subcommand::Arguments),
    /// Makes what users install: tarballs, Debian packages, container images.
    Dist(subcommand::Arguments),
    /// Makes the reference from the programs, and checks every example.
    Docs(xtask::docs::Arguments),
    /// Runs the fuzz targets; needs cargo-fuzz and a nightly toolchain.
    Fuzz {
        /// One target only.
        target: Option<String>,
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        time: u64,
    },
    /// Tests the mesh with EventMesh's published Java SDK.
    Java(subcommand::Arguments),
    /// Lists the connectors: version, size, guarantee.
    List(list::Arguments),
    /// Makes a new connector that works already, against a toy in place of its system.
    New(new::Arguments),
    /// Runs pipelines through random faults and checks that nothing was lost.
    Prove(prove::Arguments),
    /// Makes a version of one connector; refuses incompatible changes below a new major version.
    Release(subcommand::Arguments),
    /// Runs formatting, lints and all tests with the real binaries, or those of some connectors.
    Test(test::Arguments),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Affected(arguments) => exit_code(affected::run(&arguments)),
        Command::Bench(arguments) => exit_code(subcommand::bench(&arguments)),
        Command::Build(arguments) => exit_code(build::run(&arguments)),
        Command::Check { what } => check::run(what),
        Command::Demo(arguments) => exit_code(subcommand::demo(&arguments)),
        Command::Dist(arguments) => exit_code(subcommand::publishing("dist", &arguments)),
        Command::Docs(arguments) => exit_code(xtask::docs::run(&arguments)),
        Command::Fuzz { target, time } => fuzz::run(target.as_deref(), time),
        Command::Java(arguments) => exit_code(subcommand::java(&arguments)),
        Command::List(arguments) => exit_code(list::run(&arguments)),
        Command::New(arguments) => exit_code(new::run(&arguments)),
        Command::Prove(arguments) => exit_code(prove::run(&arguments)),
        Command::Release(arguments) => exit_code(subcommand::publishing("release", &arguments)),
        Command::Test(arguments) => test::run_command(&arguments),
    }
}

fn exit_code(done: xtask::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
