//! The programs: the mesh and the connectors, built, and where they are.

use std::path::PathBuf;

use crate::{Result, cargo, connectors};

/// The programs that users get: the mesh and every connector.
///
/// # Errors
/// Cargo can't read the workspace.
pub fn programs() -> Result<Vec<String>> {
    let connectors = connectors::named(&[])?.into_iter().map(|connector| connector.package);
    Ok(std::iter::once("openconnect-mesh".to_owned()).chain(connectors).collect())
}

/// Builds all programs for release, and returns their folder. Together they get each other's features: see [`sizes`].
///
/// # Errors
/// The build fails.
pub fn build() -> Result<PathBuf> {
    build_release(&programs()?)
}

/// Builds these packages for release, and returns the folder of their binaries.
///
/// # Errors
/// The build fails.
pub fn build_release(packages: &[String]) -> Result<PathBuf> {
    println!("building for release (the first time takes minutes)");
    build_packages(&["--release"], packages)?;
    Ok(folder())
}

/// Builds all programs with the profile `dev`: [`built`] says where each is.
///
/// # Errors
/// The build fails.
pub fn build_debug() -> Result<()> {
    build_packages(&[], &programs()?)
}

/// Builds a crate's example for release: it is in `examples/` of the folder that is returned.
///
/// # Errors
/// The build fails.
pub fn build_example(package: &str, example: &str) -> Result<PathBuf> {
    println!("building for release (the first time takes minutes)");
    build_packages(&["--release", "--example", example], &[package.to_owned()])?;
    Ok(folder())
}

fn build_packages(options: &[&str], packages: &[String]) -> Result<()> {
    let mut build = cargo::command();
    build.arg("build").args(options);
    for package in packages {
        build.args(["--package", package]);
    }
    if build.current_dir(workspace()).status()?.success() {
        Ok(())
    } else {
        Err(format!("can't build {}", packages.join(", ")).into())
    }
}

/// Builds each program alone, as users get it, and returns the sizes in bytes: built together they get each other's features.
///
/// # Errors
/// A build fails.
pub fn sizes() -> Result<Vec<(String, u64)>> {
    let size = |name: String| {
        println!("building {name} alone");
        let folder = build_release(std::slice::from_ref(&name))?;
        let size = std::fs::metadata(folder.join(&name))?.len();
        Ok((name, size))
    };
    programs()?.into_iter().map(size).collect()
}

/// The folder of the release binaries.
pub fn folder() -> PathBuf {
    target().join("release")
}

/// The binary of a program that was built with the profile `dev`.
///
/// # Errors
/// It is not built.
pub fn built(program: &str) -> Result<PathBuf> {
    let binary = target().join("debug").join(program);
    if binary.is_file() {
        Ok(binary)
    } else {
        Err(format!("{} is not built", binary.display()).into())
    }
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    let mut folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    folder.pop();
    folder
}
