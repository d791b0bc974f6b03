//! `cargo xtask release <connector>`: a version of one connector, with its changelog, its tag, and a refusal of what would break users.
//!
//! `compatibility.rs`: what is not compatible with the last release. `changelog.rs`: its section of the changelog.

mod changelog;
mod compatibility;

use std::fs;
use std::process::ExitCode;

use clap::Parser;
use semver::Version;
use serde_json::Value;
use xtask::Result;

use changelog::Changelog;
use compatibility::Differences;
use xtask::cargo::workspace;
use xtask::connectors::{self, Connector};
use xtask::{docs, git};

/// Its version is that of all crates below `crates/`.
const CORE: &str = "eventmesh-openconnect-core";

#[derive(Debug, Parser)]
#[command(name = "cargo xtask release")]
struct Arguments {
    /// The connector, as `cargo xtask list` names it.
    connector: String,
    /// Its version. Default: the next one that the changes demand.
    #[arg(long)]
    version: Option<Version>,
    /// Say what would be done, and try to publish to nowhere; change nothing.
    #[arg(long)]
    dry_run: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let connector = connectors::named(std::slice::from_ref(&arguments.connector))?.remove(0);
    clean()?;
    if !xtask::cargo::runs(&["build", "--quiet", "--package", &connector.package]) {
        return Err(format!("{} can't be built", connector.package).into());
    }
    let mut changelog = Changelog::read(&connector)?;
    let schema = docs::schema(&connector)?;
    let released = docs::released(&connector)?;
    let last = released.last().map(|(version, _)| version.clone());
    let differences = Differences::since(&connector, released.last(), &schema)?;
    differences.tell();
    let least = differences.least_version(last.as_ref(), &connector.version.parse()?, changelog.adds());
    let version = arguments.version.clone().unwrap_or_else(|| least.clone());
    if version < least {
        return Err(format!(
            "{} {version} is too low: what has changed since the last release needs {least}",
            connector.name
        )
        .into());
    }
    let tag = format!("{}-v{version}", connector.name);
    if is_tagged(&tag)? {
        return Err(format!("{tag} was released already").into());
    }
    let core_tag = core_tag()?;
    let published = packages(&connector)?;
    println!(
        "{tag}\n  changelog:\n{}\n  packages, in order: {}",
        changelog.unreleased(),
        published.join(", ")
    );
    publish_to_nowhere(&published)?;
    if arguments.dry_run {
        println!("nothing was changed; without --dry-run {tag} is committed and tagged, and pushing the tag releases it");
        return Ok(());
    }
    let done = commit(&connector, &version, &mut changelog, &schema);
    if done.is_err() {
        // As it was: it was clean.
        git::read(&["reset", "--hard", "--quiet"])?;
        git::read(&["clean", "-d", "--force", "--quiet", connector.folder.as_str()])?;
    }
    done?;
    for tag in core_tag.iter().chain([&tag]) {
        git::read(&["tag", "--annotate", tag, "--message", &format!("{} {version}", connector.package)])?;
        println!("tagged {tag}");
    }
    println!("push the commit and its tags: git push --follow-tags");
    println!(
        "publish what crates.io does not have yet, in this order: cargo publish --package {}",
        published.join(" --package ")
    );
    Ok(())
}

fn commit(connector: &Connector, version: &Version, changelog: &mut Changelog, schema: &Value) -> Result<()> {
    set_version(connector, version)?;
    changelog.release(version)?;
    let folder = connector.folder.join("released");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(format!("{version}.schema.json")), format!("{schema:#}\n"))?;
    fs::write(folder.join("state-format"), format!("{}\n", openconnect_core::state::FORMAT))?;
    docs::build_and_make(false)?;
    if !xtask::cargo::runs(&["update", "--workspace", "--quiet"]) {
        return Err("Cargo.lock can't be brought up to date".into());
    }
    git::read(&["add", "--all"])?;
    git::read(&["commit", "--message", &format!("Release {} {version}", connector.name)])?;
    Ok(())
}

/// What is released is what is committed.
fn clean() -> Result<()> {
    let changed = git::read(&["status", "--porcelain"])?;
    if changed.is_empty() {
        Ok(())
    } else {
        Err(format!("there are changes that are not committed:\n{changed}").into())
    }
}

/// The tag that the crates below `crates/` get with this release, where their version has none yet: they have one version in common.
fn core_tag() -> Result<Option<String>> {
    let metadata = connectors::metadata()?;
    let core = metadata.workspace_packages().into_iter().find(|package| package.name == CORE);
    let version = &core.ok_or_else(|| format!("there is no package {CORE}"))?.version;
    let tag = format!("core-v{version}");
    if !is_tagged(&tag)? {
        println!("the crates below `crates/` become {version}");
        return Ok(Some(tag));
    }
    let changed = git::read(&["diff", "--name-only", &tag, "--", "crates/*/src/*", "crates/*/Cargo.toml"])?;
    if changed.is_empty() {
        println!("the crates below `crates/` are as they were at {tag}");
        return Ok(None);
    }
    Err(format!(
        "the crates below `crates/` have changed since {tag}, but not their version: raise `version` in Cargo.toml, and commit:\n{changed}"
    )
    .into())
}

fn is_tagged(tag: &str) -> Result<bool> {
    Ok(!git::read(&["tag", "--list", tag])?.trim().is_empty())
}

/// The packages of this workspace that the connector is built of, each after those that it needs.
fn packages(connector: &Connector) -> Result<Vec<String>> {
    let metadata = connectors::metadata()?;
    let parts = connectors::parts(&metadata, &connector.package)?;
    let own = metadata.workspace_packages();
    let mut open: Vec<_> = own.iter().filter(|package| parts.contains(&package.id)).collect();
    let mut order: Vec<String> = Vec::new();
    while !open.is_empty() {
        let before = order.len();
        open.retain(|package| {
            let waits = package.dependencies.iter().any(|needed| {
                needed.kind != cargo_metadata::DependencyKind::Development
                    && own.iter().any(|own| own.name.as_str() == needed.name && parts.contains(&own.id))
                    && !order.contains(&needed.name)
            });
            if !waits {
                order.push(package.name.to_string());
            }
            waits
        });
        if order.len() == before {
            return Err("the packages need each other in a circle".into());
        }
    }
    Ok(order)
}

fn publish_to_nowhere(packages: &[String]) -> Result<()> {
    let mut publish = xtask::cargo::command();
    publish.args(["publish", "--dry-run", "--quiet"]);
    for package in packages {
        publish.args(["--package", package]);
    }
    if publish.current_dir(workspace()).status()?.success() {
        Ok(())
    } else {
        Err("cargo publish --dry-run failed".into())
    }
}

fn set_version(connector: &Connector, version: &Version) -> Result<()> {
    let file = connector.folder.join("Cargo.toml");
    let text = fs::read_to_string(&file)?;
    let old = format!("version = \"{}\"", connector.version);
    if !text.contains(&old) {
        return Err(format!("{file} has no `{old}`").into());
    }
    Ok(fs::write(file, text.replacen(&old, &format!("version = \"{version}\""), 1))?)
}
