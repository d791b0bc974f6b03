//! `cargo xtask affected --since <ref>`: which connectors a change touches, by what their binaries are made of.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{Metadata, PackageId};
use xtask::Result;

use xtask::connectors::{self, parts};
use xtask::git;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A commit, a branch or a tag; what is not committed counts as changed too.
    #[arg(long)]
    since: String,
    /// Say what each is touched by.
    #[arg(long)]
    why: bool,
}

/// Prints their names, one a line.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    for (name, reasons) in since(&arguments.since)? {
        if arguments.why {
            println!("{name}: {}", reasons.into_iter().collect::<Vec<_>>().join(", "));
        } else {
            println!("{name}");
        }
    }
    Ok(())
}

/// Connectors that differ from those at the commit, with the packages or files that make the difference.
pub(crate) fn since(commit: &str) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let metadata = connectors::metadata()?;
    let changed = changed(commit, &metadata)?;
    let mut affected = BTreeMap::new();
    for connector in connectors::all(&metadata)? {
        let parts = parts(&metadata, &connector.package)?;
        let reasons: BTreeSet<String> = changed
            .iter()
            .filter(|(_, what)| what.touches(&parts))
            .map(|(name, _)| name.clone())
            .collect();
        if !reasons.is_empty() {
            affected.insert(connector.name, reasons);
        }
    }
    Ok(affected)
}

/// What a change touches.
enum Touched {
    Everything,
    Package(PackageId),
}

impl Touched {
    fn touches(&self, parts: &BTreeSet<PackageId>) -> bool {
        match self {
            Self::Everything => true,
            Self::Package(id) => parts.contains(id),
        }
    }
}

/// What has changed, by its name.
fn changed(commit: &str, metadata: &Metadata) -> Result<Vec<(String, Touched)>> {
    let files = git::read(&["diff", "--name-only", commit])? + &git::read(&["ls-files", "--others", "--exclude-standard"])?;
    let mut changed = Vec::new();
    for file in files.lines() {
        let path = metadata.workspace_root.join(file);
        let owner = metadata
            .workspace_packages()
            .into_iter()
            .find(|package| package.manifest_path.parent().is_some_and(|folder| path.starts_with(folder)));
        match owner {
            Some(package) if built_in(package, &path) => changed.push((package.name.to_string(), Touched::Package(package.id.clone()))),
            Some(_) => {}
            None if file == "Cargo.lock" => changed.extend(relocked(commit, metadata)?),
            None if matches!(file, "Cargo.toml" | "rust-toolchain.toml") || file.starts_with(".cargo/") => {
                changed.push((file.to_owned(), Touched::Everything));
            }
            None => {}
        }
    }
    Ok(changed)
}

/// Tests, benches and examples of a package are in no binary.
fn built_in(package: &cargo_metadata::Package, file: &cargo_metadata::camino::Utf8Path) -> bool {
    let folder = package.manifest_path.parent().unwrap_or(&package.manifest_path);
    let outside = ["tests", "benches", "examples", "README.md", "CHANGELOG.md"];
    !outside.iter().any(|name| file.starts_with(folder.join(name)))
}

/// Dependencies that have another version than they had.
fn relocked(commit: &str, metadata: &Metadata) -> Result<Vec<(String, Touched)>> {
    let before = git::read(&["show", &format!("{commit}:Cargo.lock")])?;
    let known = connectors::locked(&before);
    let other = metadata.packages.iter().filter(|package| package.source.is_some());
    Ok(other
        .filter(|package| !known.contains_key(&(package.name.to_string(), package.version.to_string())))
        .map(|package| {
            (
                format!("{} {}", package.name, package.version),
                Touched::Package(package.id.clone()),
            )
        })
        .collect())
}
