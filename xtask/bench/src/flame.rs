//! Where the time goes: a flame graph of everything that runs on the machine while a subject is measured.
//!
//! The binaries are built for it with their symbols and without link-time optimisation, so that functions are seen by their
//! names: what is compared with what is seen, not how fast it is.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use openconnect_testkit::Result;

use crate::Rounds;
use crate::run::Setup;
use crate::suite::SUBJECTS;
use xtask::cargo::workspace;
use xtask::tools::Tool;

const INFERNO: Tool = Tool {
    package: "inferno",
    version: "0.12.3",
    options: &["--no-default-features", "--features", "cli"],
};

fn folder() -> PathBuf {
    workspace().join("target/flame")
}

/// Builds the programs with their symbols, and returns their folder.
pub(crate) fn build() -> Result<PathBuf> {
    println!("building with symbols (the first time takes minutes)");
    let mut cargo = xtask::cargo::command();
    cargo.args(["build", "--release"]);
    for package in xtask::binaries::programs()? {
        cargo.args(["--package", &package]);
    }
    for (name, value) in [("LTO", "off"), ("CODEGEN_UNITS", "16"), ("STRIP", "none"), ("DEBUG", "limited")] {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
    }
    cargo.env("RUSTFLAGS", "-C force-frame-pointers=yes");
    cargo.env("CARGO_TARGET_DIR", folder()).current_dir(workspace());
    if !cargo.status()?.success() {
        return Err("the build failed".into());
    }
    Ok(folder().join("release"))
}

/// Runs the subject once, and draws what was seen while it was counted.
pub(crate) async fn draw(base: &Setup, subject: &str, rounds: &Rounds) -> Result<ExitCode> {
    let Some(known) = SUBJECTS.iter().find(|known| known.name == subject) else {
        let names: Vec<&str> = SUBJECTS.iter().map(|known| known.name).collect();
        return Err(format!("`{subject}` can't be drawn; there are {}", names.join(", ")).into());
    };
    std::fs::create_dir_all(folder())?;
    let recorded = folder().join("perf.data");
    let setup = Setup {
        recording: Some(recorded.clone()),
        ..rounds.setup(base)
    };
    let sample = known.once(&setup).await?;
    println!("{subject}: {:.0} events/s", sample.events_per_second);
    let to = folder().join(format!("{subject}-{}.svg", setup.batch));
    graph(&recorded, &to)?;
    println!("written: {}", to.display());
    Ok(ExitCode::SUCCESS)
}

fn graph(recorded: &Path, to: &Path) -> Result<()> {
    INFERNO.fetch()?;
    let tool = |name: &str| Command::new(xtask::tools::folder().join(name));
    let mut script = Command::new("perf")
        .args(["script", "--fields", "+pid", "--input"])
        .arg(recorded)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut collapse = tool("inferno-collapse-perf")
        .args(["--pid"])
        .stdin(script.stdout.take().ok_or("perf gives nothing")?)
        .stdout(Stdio::piped())
        .spawn()?;
    let drawn = tool("inferno-flamegraph")
        .stdin(collapse.stdout.take().ok_or("nothing was collapsed")?)
        .stdout(std::fs::File::create(to)?)
        .status()?;
    if script.wait()?.success() && collapse.wait()?.success() && drawn.success() {
        Ok(())
    } else {
        Err("what perf recorded can't be drawn".into())
    }
}
