//! Programs that are fetched when they are needed, through the ordinary package clients, into `target/tools`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use openconnect_testkit::Result;

use crate::binaries::workspace;

/// Zig's C compiler and linker know every platform and every glibc; certifi has the certificates of public authorities.
const PYTHON: &[&str] = &["ziglang==0.17.1", "cargo-zigbuild==0.24.1", "certifi==2025.8.3"];
const AUDITABLE: &str = "0.7.7";

/// Where they are.
pub(super) struct Tools {
    python: PathBuf,
    cargo: PathBuf,
}

/// Fetches what is not there yet.
pub(super) fn fetch() -> Result<Tools> {
    let folder = workspace().join("target/tools");
    let tools = Tools {
        python: folder.join("python"),
        cargo: folder.join("cargo"),
    };
    let stamp = tools.python.join("installed");
    let wanted = PYTHON.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(tools);
    }
    println!("fetching {} and cargo-auditable", PYTHON.join(", "));
    run(
        Command::new("python3").args(["-m", "venv", "--clear"]).arg(&tools.python),
        "Python 3 with venv is needed",
    )?;
    run(
        Command::new(tools.python.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .args(PYTHON),
        "pip could not install the tools",
    )?;
    run(
        crate::cargo::command()
            .args([
                "install",
                "--quiet",
                "--locked",
                "cargo-auditable",
                "--version",
                AUDITABLE,
                "--root",
            ])
            .arg(&tools.cargo),
        "cargo could not install cargo-auditable",
    )?;
    std::fs::write(stamp, wanted)?;
    Ok(tools)
}

/// The toolchain that is in use.
pub(super) fn toolchain() -> Result<String> {
    if let Ok(name) = std::env::var("RUSTUP_TOOLCHAIN") {
        return Ok(name);
    }
    let active = Command::new("rustup")
        .args(["show", "active-toolchain"])
        .current_dir(workspace())
        .output()?;
    let text = String::from_utf8(active.stdout)?;
    Ok(text.split_whitespace().next().ok_or("rustup names no toolchain")?.to_owned())
}

/// Rust's standard library for a platform.
pub(super) fn rust_std(triple: &str) -> Result<()> {
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
    pub(super) fn path(&self) -> Result<OsString> {
        let own = [self.python.join("bin"), self.cargo.join("bin")];
        let old = std::env::var_os("PATH").unwrap_or_default();
        Ok(std::env::join_paths(own.into_iter().chain(std::env::split_paths(&old)))?)
    }

    /// Certificates of public authorities, PEM.
    pub(super) fn authorities(&self) -> Result<Vec<u8>> {
        let found = Command::new(self.python.join("bin/python")).args(["-m", "certifi"]).output()?;
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
