//! `cargo xtask prove`: builds what is proved, with failpoints in it, and runs the proof of delivery.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use xtask::{Result, cargo};

use crate::subcommand::{self, Arguments};

/// The features of the binaries that are proved. No release has them.
pub(crate) const FEATURES: &str = "eventmesh-openconnect-fault/failpoints,eventmesh-openconnect-fault/defects";

/// Builds the binaries that are tested and proved: one build serves all tests.
pub(crate) fn build() -> bool {
    cargo::runs(&["build", "--workspace", "--bins", "--examples", "--features", FEATURES])
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !build() {
        return Err("can't build the programs".into());
    }
    Err(subcommand::built("prove").args(arguments.iter()).exec().into())
}

/// The command that runs so many random plans on a subject, or on `all`, with the binaries as they are built.
pub(crate) fn of(subject: &str, runs: usize) -> Command {
    let mut prove = subcommand::built("prove");
    prove.args([subject, "--runs", &runs.to_string()]);
    prove
}
