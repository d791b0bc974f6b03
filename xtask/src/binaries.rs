//! The release binaries, for the commands that show or measure them.

use std::path::PathBuf;

use openconnect_testkit::Result;

use crate::connectors;

/// The programs that users get: the mesh and every connector.
pub(crate) fn programs() -> Result<Vec<String>> {
    let connectors = connectors::named(&[])?.into_iter().map(|connector| connector.package);
    Ok(std::iter::once("openconnect-mesh".to_owned()).chain(connectors).collect())
}

/// Builds them and says where they are.
pub(crate) fn build() -> Result<PathBuf> {
    let mut packages = programs()?;
    packages.push("xtask".to_owned());
    build_release(&packages)
}

/// Builds these packages for release and says where their binaries are.
pub(crate) fn build_release(packages: &[String]) -> Result<PathBuf> {
    println!("building for release (the first time takes minutes)");
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

/// Builds this program and a crate's example, which is beside it in `examples/`.
pub(crate) fn build_example(package: &str, example: &str) -> Result<PathBuf> {
    println!("building for release (the first time takes minutes)");
    let mut cargo = crate::cargo::command();
    cargo.args(["build", "--release", "--quiet", "--package", package, "--example", example]);
    if !cargo.current_dir(workspace()).status()?.success() {
        return Err("the build failed".into());
    }
    build_release(&["xtask".to_owned()])
}

/// Builds each alone, as users get them, and gives their sizes in bytes: together they get each other's features.
pub(crate) fn sizes() -> Result<Vec<(String, u64)>> {
    let size = |name: String| {
        println!("building {name} alone");
        let folder = build_release(std::slice::from_ref(&name))?;
        let size = std::fs::metadata(folder.join(&name))?.len();
        Ok((name, size))
    };
    programs()?.into_iter().map(size).collect()
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
