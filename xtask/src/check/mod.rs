//! `cargo xtask check <what>`: one of the checks, as CI and a person run it. `profile.rs`: the profiles of Cargo.toml.

mod profile;

use std::process::{Command, ExitCode};

use clap::ValueEnum;
use xtask::Result;

use xtask::cargo::workspace;
use xtask::tools::{self, Tool};
use xtask::{cargo, connectors, docs, git};

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Formatting.
    Fmt,
    /// Lints, warnings denied.
    Clippy,
    /// Licences, bans and sources of dependencies (cargo-deny).
    Deny,
    /// The reference, the schemas and every example.
    Docs,
    /// Rustdoc, warnings denied.
    Rustdoc,
    /// Release binaries against the size that each connector's Cargo.toml allows.
    Sizes,
    /// Every package that a Cargo profile names is in Cargo.lock.
    Profile,
    /// The oldest Rust that is named builds it.
    Msrv,
    /// No dependency that nothing uses (cargo-machete).
    Unused,
    /// What of the public API has changed since the last release (cargo-semver-checks).
    Api,
    /// The commands of `docs/authoring.md`, in a fresh checkout.
    Authoring,
}

pub(crate) fn run(what: What) -> ExitCode {
    println!(
        "== {}",
        what.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    );
    match check(what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether it holds; why not is printed.
pub(crate) fn passes(what: What) -> bool {
    check(what).inspect_err(|error| println!("{error}")).is_ok()
}

fn check(what: What) -> Result<()> {
    match what {
        What::Fmt => cargo(&["fmt", "--all", "--check"]),
        What::Clippy => cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        What::Deny => tool(
            &Tool::new("cargo-deny", "0.20.2"),
            &["deny", "check", "licenses", "bans", "sources"],
        ),
        What::Docs => docs::build_and_make(true),
        What::Rustdoc => rustdoc(),
        What::Sizes => sizes(),
        What::Profile => profile::check(),
        What::Msrv => msrv(),
        What::Unused => tool(&Tool::new("cargo-machete", "0.9.1"), &["machete", "--with-metadata"]),
        What::Api => api(),
        What::Authoring => authoring(),
    }
}

fn cargo(arguments: &[&str]) -> Result<()> {
    if cargo::runs(arguments) {
        Ok(())
    } else {
        Err(format!("cargo {} failed", arguments.join(" ")).into())
    }
}

/// A cargo command that is fetched when it is missing.
fn tool(tool: &Tool, arguments: &[&str]) -> Result<()> {
    tool.fetch()?;
    let mut command = cargo::command();
    command.args(arguments).env("PATH", tools::path([tools::folder()])?);
    if command.current_dir(workspace()).status()?.success() {
        Ok(())
    } else {
        Err(format!("{} found something", tool.package).into())
    }
}

fn rustdoc() -> Result<()> {
    let mut doc = cargo::command();
    doc.args(["doc", "--workspace", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", "-D warnings");
    if doc.current_dir(workspace()).status()?.success() {
        Ok(())
    } else {
        Err("rustdoc has warnings".into())
    }
}

/// Builds each connector alone, as users get it. `size` in its `[package.metadata.openconnect]` is the limit, in bytes.
fn sizes() -> Result<()> {
    let mut over = Vec::new();
    for connector in connectors::named(&[])? {
        let folder = xtask::binaries::build_release(std::slice::from_ref(&connector.package))?;
        let bytes = std::fs::metadata(folder.join(&connector.package))?.len();
        println!("{}: {bytes} of {} bytes", connector.name, connector.size);
        if bytes > connector.size {
            let manifest = connector.folder.join("Cargo.toml");
            over.push(format!(
                "{} has {bytes} bytes, {} are allowed ({manifest})",
                connector.name, connector.size
            ));
        }
    }
    if over.is_empty() { Ok(()) } else { Err(over.join("\n").into()) }
}

/// With the toolchain of `rust-version`, which rustup fetches.
fn msrv() -> Result<()> {
    let metadata = connectors::metadata()?;
    let version = metadata
        .workspace_packages()
        .iter()
        .find_map(|package| package.rust_version.clone());
    let version = version.ok_or("no package has a rust-version")?.to_string();
    let status = Command::new("rustup")
        .args([
            "run",
            "--install",
            &version,
            "cargo",
            "check",
            "--workspace",
            "--all-targets",
            "--locked",
        ])
        .env_remove("RUSTUP_TOOLCHAIN")
        .env("CARGO_TARGET_DIR", workspace().join("target/msrv"))
        .current_dir(workspace())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("Rust {version} does not build it").into())
    }
}

fn api() -> Result<()> {
    let tags = git::read(&["tag", "--list", "core-v*", "--sort=-version:refname"])?;
    let Some(last) = tags.lines().next() else {
        println!("nothing was released yet: there is nothing to compare with");
        return Ok(());
    };
    tool(
        &Tool::new("cargo-semver-checks", "0.44.0"),
        &["semver-checks", "--package", "eventmesh-openconnect-core", "--baseline-rev", last],
    )
}

/// Runs `new`, `test` and `docs` in a checkout, for a source and a sink.
fn authoring() -> Result<()> {
    let checkout = workspace().join("target/authoring");
    git::checkout("HEAD", &checkout)?;
    let in_checkout = |arguments: &[&str]| -> Result<()> {
        let mut command = cargo::command();
        command.arg("xtask").args(arguments).current_dir(&checkout);
        // Programs of its own: those of the same name would take the place of ours. What they are built of is shared.
        command.env("CARGO_TARGET_DIR", workspace().join("target/authoring-target"));
        command.env("CARGO_BUILD_BUILD_DIR", workspace().join("target"));
        if command.status()?.success() {
            Ok(())
        } else {
            Err(format!("cargo xtask {} failed", arguments.join(" ")).into())
        }
    };
    let done = ["sink", "source"]
        .iter()
        .try_for_each(|kind| in_checkout(&["new", "acme", kind]))
        .and_then(|()| in_checkout(&["test", "acme-sink", "acme-source"]))
        // The tests have built the programs.
        .and_then(|()| in_checkout(&["docs", "--no-build"]));
    git::remove_checkout(&checkout)?;
    done
}
