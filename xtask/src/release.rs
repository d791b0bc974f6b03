//! The release binaries, for the commands that show or measure them.

use std::path::PathBuf;

use openconnect_testkit::Result;

/// The programs that users get.
pub(crate) const BINARIES: &[&str] = &[
    "openconnect-mesh",
    "openconnect-http-source",
    "openconnect-http-sink",
    "openconnect-jdbc-source",
    "openconnect-jdbc-sink",
    "openconnect-mysql-cdc-source",
];

/// Builds them and says where they are.
pub(crate) fn build() -> Result<PathBuf> {
    println!("building the release binaries (the first time takes minutes)");
    cargo_build(BINARIES.iter().chain(&["xtask"]))
}

/// Builds this program and a crate's example, which is beside it in `examples/`.
pub(crate) fn build_example(package: &str, example: &str) -> Result<PathBuf> {
    println!("building for release (the first time takes minutes)");
    let mut cargo = crate::cargo::command();
    cargo.args(["build", "--release", "--quiet", "--package", package, "--example", example]);
    if !cargo.current_dir(workspace()).status()?.success() {
        return Err("the build failed".into());
    }
    cargo_build(["xtask"].iter())
}

/// Builds each alone, as users get them, and gives their sizes in bytes: together they get each other's features.
pub(crate) fn sizes() -> Result<Vec<(String, u64)>> {
    let size = |name: &&str| {
        println!("building {name} alone");
        let folder = cargo_build([name].into_iter())?;
        Ok(((*name).to_owned(), std::fs::metadata(folder.join(name))?.len()))
    };
    BINARIES.iter().map(size).collect()
}

fn cargo_build<'n>(packages: impl Iterator<Item = &'n &'n str>) -> Result<PathBuf> {
    let mut cargo = crate::cargo::command();
    cargo.args(["build", "--release", "--quiet"]);
    for package in packages {
        cargo.args(["--package", package]);
    }
    if !cargo.current_dir(workspace()).status()?.success() {
        return Err("the build failed".into());
    }
    Ok(folder())
}

/// Where they are built.
pub(crate) fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    target.join("release")
}

/// The workspace's folder.
pub(crate) fn workspace() -> PathBuf {
    let mut folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    folder.pop();
    folder
}
