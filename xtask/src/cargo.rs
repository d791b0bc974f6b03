//! Cargo, called from a program that cargo runs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The cargo that built this program. Without the variables that describe `xtask` itself: build scripts look at them
/// (ring's does), and all above such a script would be built again each time a person's shell and `xtask` take turns.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let described = name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_BIN_"));
        if described {
            command.env_remove(name);
        }
    }
    // A crate may name a toolchain of its own, which is not meant for those who build it: what rustup calls must not follow it.
    if let (None, Some(name)) = (std::env::var_os("RUSTUP_TOOLCHAIN"), toolchain()) {
        command.env("RUSTUP_TOOLCHAIN", name);
    }
    command
}

/// The toolchain of that cargo, where rustup keeps it: `toolchains/<name>/bin/cargo`.
fn toolchain() -> Option<&'static OsStr> {
    let folder = Path::new(env!("CARGO")).parent()?.parent()?;
    folder.parent()?.ends_with("toolchains").then(|| folder.file_name())?
}

/// Runs it to the end; whether it went well.
pub fn runs(arguments: &[&str]) -> bool {
    command().args(arguments).status().is_ok_and(|status| status.success())
}

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    let mut folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    folder.pop();
    folder
}
