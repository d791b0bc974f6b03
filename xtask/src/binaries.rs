//! The programs: the mesh and the connectors, built, and where they are.

use std::path::PathBuf;
use std::process::Command;

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
    if build.current_dir(cargo::workspace()).status()?.success() {
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
    let binary = debug_folder().join(program);
    if binary.is_file() {
        Ok(binary)
    } else {
        Err(format!("{} is not built", binary.display()).into())
    }
}

/// The folder of the binaries that were built with the profile `dev`.
pub fn debug_folder() -> PathBuf {
    target().join("debug")
}

/// Tells a program that starts the binaries of the profile `dev` where they are: its own folder is that of intermediate files, which
/// may be another. What a person has set stays.
pub fn tell_folder(command: &mut Command) {
    const FOLDER: &str = "OPENCONNECT_BIN_DIR";
    if std::env::var_os(FOLDER).is_none() {
        // Cargo runs tests in the folders of their packages.
        let folder = debug_folder();
        command.env(FOLDER, std::path::absolute(&folder).unwrap_or(folder));
    }
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| cargo::workspace().join("target"), PathBuf::from)
}
