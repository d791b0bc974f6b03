//! Cargo commands that are fetched when they are needed, into `target/tools/cargo`.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::Result;

use crate::cargo::workspace;

/// A program of crates.io.
pub struct Tool {
    /// Its package, which is also its binary's name.
    pub package: &'static str,
    /// The version that is installed.
    pub version: &'static str,
    /// Further arguments of `cargo install`.
    pub options: &'static [&'static str],
}

/// Where their binaries are.
pub fn folder() -> PathBuf {
    workspace().join("target/tools/cargo/bin")
}

impl Tool {
    /// A package whose default features are fine.
    pub const fn new(package: &'static str, version: &'static str) -> Self {
        Self {
            package,
            version,
            options: &[],
        }
    }

    /// Fetches it when it is not there, and says where it is.
    pub fn fetch(&self) -> Result<PathBuf> {
        let binary = folder().join(self.package);
        if binary.exists() {
            return Ok(binary);
        }
        println!("fetching {} {}", self.package, self.version);
        let mut install = crate::cargo::command();
        install.args(["install", "--quiet", "--locked", self.package, "--version", self.version]);
        install.args(self.options).arg("--root").arg(workspace().join("target/tools/cargo"));
        if install.status()?.success() {
            Ok(binary)
        } else {
            Err(format!("{} {} can't be fetched", self.package, self.version).into())
        }
    }
}

/// The search path with these folders in front.
pub fn path(first: impl IntoIterator<Item = PathBuf>) -> Result<OsString> {
    let old = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(first.into_iter().chain(std::env::split_paths(&old)))?)
}
