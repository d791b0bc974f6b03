//! The release binaries, for the commands that show or measure them.

use std::path::PathBuf;
use std::process::Command;

use openconnect_testkit::Result;

/// Builds them and says where they are.
pub(crate) fn build() -> Result<PathBuf> {
    println!("building the release binaries (the first time takes minutes)");
    let binaries = [
        "openconnect-mesh",
        "openconnect-http-source",
        "openconnect-http-sink",
        "openconnect-jdbc-sink",
        "xtask",
    ];
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--quiet"]);
    for binary in binaries {
        cargo.args(["--package", binary]);
    }
    if !cargo.status()?.success() {
        return Err("the build failed".into());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    Ok(target.join("release"))
}

/// The workspace's folder.
pub(crate) fn workspace() -> PathBuf {
    let mut folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    folder.pop();
    folder
}
