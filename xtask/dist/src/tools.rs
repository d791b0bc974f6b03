//! Programs that are fetched when they are needed, through the ordinary package clients, into `target/tools`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use xtask::Result;

use xtask::cargo::workspace;
use xtask::tools::{self, Tool};

/// Zig's C compiler and linker know every platform and every glibc; certifi has the certificates of public authorities.
const PYTHON: &[&str] = &["ziglang==0.17.1", "cargo-zigbuild==0.24.1", "certifi==2025.8.3"];
const AUDITABLE: Tool = Tool::new("cargo-auditable", "0.7.7");

/// Where Python and its programs are.
pub(crate) struct Tools(PathBuf);

/// Fetches what is not there yet.
pub(crate) fn fetch() -> Result<Tools> {
    AUDITABLE.fetch()?;
    let tools = Tools(workspace().join("target/tools/python"));
    let stamp = tools.0.join("installed");
    let wanted = PYTHON.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(tools);
    }
    println!("fetching {}", PYTHON.join(", "));
    run(
        Command::new("python3").args(["-m", "venv", "--clear"]).arg(&tools.0),
        "Python 3 with venv is needed",
    )?;
    run(
        Command::new(tools.0.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .args(PYTHON),
        "pip could not install the tools",
    )?;
    std::fs::write(stamp, wanted)?;
    Ok(tools)
}

/// Rust's standard library for a platform.
pub(crate) fn rust_std(triple: &str) -> Result<()> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output()?;
    let folder = PathBuf::from(String::from_utf8(sysroot.stdout)?.trim())
        .join("lib/rustlib")
        .join(triple);
    if folder.join("lib").is_dir() {
        return Ok(());
    }
    run(
        Command::new("rustup").args(["target", "add", triple]),
        &format!("Rust's standard library for {triple} is missing, and rustup can't fetch it"),
    )
}

impl Tools {
    /// The search path with them in front.
    pub(crate) fn path(&self) -> Result<OsString> {
        tools::path([self.0.join("bin"), tools::folder()])
    }

    /// Certificates of public authorities, PEM.
    pub(crate) fn authorities(&self) -> Result<Vec<u8>> {
        let found = Command::new(self.0.join("bin/python")).args(["-m", "certifi"]).output()?;
        Ok(std::fs::read(String::from_utf8(found.stdout)?.trim())?)
    }
}

fn run(command: &mut Command, otherwise: &str) -> Result<()> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{otherwise} ({status})").into()),
        Err(error) => Err(format!("{otherwise} ({error})").into()),
    }
}
