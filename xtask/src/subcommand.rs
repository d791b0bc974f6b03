//! Commands that are packages of their own, `xtask-<name>` in the folder of that name: what they need is built when they are used.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use xtask::{Result, binaries, cargo};

/// What the demo runs, and no more: its time must not grow with the number of connectors or databases.
const DEMO: &[&str] = &[
    "--package",
    "openconnect-mesh",
    "--package",
    "openconnect-http-source",
    "--package",
    "openconnect-http-sink",
    "--package",
    "openconnect-jdbc-sink",
    "--no-default-features",
    "--features",
    "openconnect-jdbc-sink/sqlite",
];

/// How a command is built.
struct Build<'a> {
    name: &'a str,
    profile: &'a str,
    /// Cargo's target folder.
    target: PathBuf,
    /// Further arguments of `cargo build`: packages that are built with it, for it to run.
    options: &'a [&'a str],
}

/// Arguments that the command itself reads.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// Its own arguments; `--help` prints them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Builds and becomes the demo.
pub(crate) fn demo(arguments: &Arguments) -> Result<()> {
    println!("building the mesh, three connectors and the demo: two to three minutes the first time");
    let build = Build {
        name: "demo",
        profile: "demo",
        target: binaries::target(),
        options: DEMO,
    };
    build.exec(&arguments.arguments)
}

/// Builds and becomes the measuring program. It makes load: what is slow must not be this program.
pub(crate) fn bench(arguments: &Arguments) -> Result<()> {
    let build = Build {
        name: "bench",
        profile: "load",
        target: folder(),
        options: &[],
    };
    build.exec(&arguments.arguments)
}

/// Builds and becomes `dist` or `release`.
pub(crate) fn publishing(name: &str, arguments: &Arguments) -> Result<()> {
    let build = Build {
        name,
        profile: "dev",
        target: folder(),
        options: &[],
    };
    build.exec(&arguments.arguments)
}

/// Builds and becomes the test with the Java SDK.
pub(crate) fn java(arguments: &Arguments) -> Result<()> {
    let build = Build {
        name: "java",
        profile: "dev",
        target: binaries::target(),
        options: &["--package", "openconnect-mesh"],
    };
    build.exec(&arguments.arguments)
}

/// A target folder of their own: they need other features of the same crates than the programs do.
fn folder() -> PathBuf {
    binaries::target().join("tools")
}

/// A command that was built together with the workspace.
pub(crate) fn built(name: &str) -> Command {
    Command::new(binaries::debug_folder().join(format!("xtask-{name}")))
}

impl Build<'_> {
    /// Returns only with an error: this process becomes the command, so that signals and the exit code are its own.
    fn exec(&self, arguments: &[OsString]) -> Result<()> {
        let binary = self.build()?;
        Err(Command::new(&binary).args(arguments).exec().into())
    }

    fn build(&self) -> Result<PathBuf> {
        let package = format!("xtask-{}", self.name);
        let mut build = cargo::command();
        build
            .args(["build", "--profile", self.profile, "--package", &package])
            .args(self.options);
        build.arg("--target-dir").arg(&self.target).current_dir(cargo::workspace());
        if !build.status()?.success() {
            return Err(format!("can't build {package}").into());
        }
        let folder = if self.profile == "dev" { "debug" } else { self.profile };
        Ok(self.target.join(folder).join(package))
    }
}
