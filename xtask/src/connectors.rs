//! The connectors of the workspace, as Cargo knows them: a crate below `connectors/` each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::Result;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId, camino::Utf8PathBuf};
use serde::Deserialize;

/// One connector.
#[derive(Debug, Clone)]
pub struct Connector {
    /// `http-sink`
    pub name: String,
    /// Its crate and its binary: `openconnect-http-sink`.
    pub package: String,
    /// `0.1.0`
    pub version: String,
    /// One line, from its manifest.
    pub description: String,
    /// What it guarantees, in a few words.
    pub guarantee: String,
    /// The most bytes that its release binary, built alone, may have.
    pub size: u64,
    /// Features of which each alone makes a smaller program that `cargo xtask dist --variant` offers.
    pub variants: Vec<String>,
    /// Its crate's folder.
    pub folder: Utf8PathBuf,
}

/// `[package.metadata.openconnect]` of a connector's `Cargo.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    guarantee: String,
    size: u64,
    #[serde(default)]
    variants: Vec<String>,
}

/// The workspace's packages with all that they are built of; Cargo downloads what it does not have.
///
/// # Errors
/// Cargo can't read the workspace or reach the registry.
pub fn metadata() -> Result<Metadata> {
    Ok(command().exec()?)
}

fn command() -> MetadataCommand {
    let mut command = MetadataCommand::new();
    command
        .cargo_path(env!("CARGO"))
        .manifest_path(crate::cargo::workspace().join("Cargo.toml"));
    command
}

/// All connectors, in order of their names.
///
/// # Errors
/// A connector's `[package.metadata.openconnect]` is wrong.
pub fn all(metadata: &Metadata) -> Result<Vec<Connector>> {
    let parent = metadata.workspace_root.join("connectors");
    let mut all: Vec<Connector> = metadata
        .workspace_packages()
        .into_iter()
        .filter(|package| package.manifest_path.starts_with(&parent))
        .map(Connector::of)
        .collect::<Result<_>>()?;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// The connectors of these names, with or without `openconnect-`; all when none is named.
///
/// # Errors
/// There is no such connector, or Cargo can't read the workspace.
pub fn named(names: &[String]) -> Result<Vec<Connector>> {
    let all = all(&command().no_deps().exec()?)?;
    if names.is_empty() {
        return Ok(all);
    }
    let find = |name: &String| {
        let short = name.strip_prefix("openconnect-").unwrap_or(name);
        all.iter()
            .find(|connector| connector.name == short)
            .cloned()
            .ok_or_else(|| unknown(short, &all).into())
    };
    names.iter().map(find).collect()
}

fn unknown(name: &str, all: &[Connector]) -> String {
    let names: Vec<&str> = all.iter().map(|connector| connector.name.as_str()).collect();
    let nearest = names
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
    let hint = nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
    format!("there is no connector `{name}`{hint} There are: {}", names.join(", "))
}

impl Connector {
    fn of(package: &Package) -> Result<Self> {
        let described = package.metadata.get("openconnect").cloned().unwrap_or_default();
        let described: Described =
            serde_json::from_value(described).map_err(|e| format!("{}: [package.metadata.openconnect]: {e}", package.manifest_path))?;
        let name = package.name.strip_prefix("openconnect-").unwrap_or(&package.name);
        let folder = package.manifest_path.parent().ok_or("a manifest without a folder")?;
        Ok(Self {
            name: name.to_owned(),
            package: package.name.to_string(),
            version: package.version.to_string(),
            description: package.description.clone().unwrap_or_default(),
            guarantee: described.guarantee,
            size: described.size,
            variants: described.variants,
            folder: folder.to_owned(),
        })
    }
}

/// All that a package's binary is built of, itself among them.
///
/// # Errors
/// The metadata is that of a workspace without its dependencies.
pub fn parts(metadata: &Metadata, package: &str) -> Result<BTreeSet<PackageId>> {
    let resolve = metadata.resolve.as_ref().ok_or("Cargo has not resolved the dependencies")?;
    let nodes: HashMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let first = metadata.packages.iter().find(|known| known.name.as_str() == package);
    let mut open: Vec<&PackageId> = first.map(|package| &package.id).into_iter().collect();
    let mut parts = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !parts.insert(id.clone()) {
            continue;
        }
        let needed = nodes.get(id).into_iter().flat_map(|node| &node.deps);
        open.extend(
            needed
                .filter(|needed| needed.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development))
                .map(|needed| &needed.pkg),
        );
    }
    Ok(parts)
}

/// The packages of a lock file by name and version, with the checksums of those that come from a registry.
pub fn locked(text: &str) -> BTreeMap<(String, String), Option<String>> {
    let field = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_start_matches(" = ").trim_matches('"').to_owned())
    };
    text.split("[[package]]")
        .filter_map(|package| Some(((field(package, "name")?, field(package, "version")?), field(package, "checksum"))))
        .collect()
}
