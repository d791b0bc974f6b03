//! The connectors of the workspace, as Cargo knows them: a crate below `connectors/` each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId, camino::Utf8PathBuf};
use openconnect_testkit::Result;
use serde::Deserialize;

/// One connector.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    /// `http-sink`
    pub(crate) name: String,
    /// Its crate and its binary: `openconnect-http-sink`.
    pub(crate) package: String,
    pub(crate) version: String,
    pub(crate) description: String,
    /// What it guarantees, in a few words.
    pub(crate) guarantee: String,
    pub(crate) folder: Utf8PathBuf,
}

/// `[package.metadata.openconnect]` of a connector's `Cargo.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    guarantee: String,
}

/// The workspace with all that it is built of.
pub(crate) fn metadata() -> Result<Metadata> {
    Ok(MetadataCommand::new()
        .cargo_path(env!("CARGO"))
        .manifest_path(crate::binaries::workspace().join("Cargo.toml"))
        .exec()?)
}

/// All connectors, by their names.
pub(crate) fn all(metadata: &Metadata) -> Result<Vec<Connector>> {
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

/// Those of these names; all when none is named.
pub(crate) fn named(names: &[String]) -> Result<Vec<Connector>> {
    let all = all(&metadata()?)?;
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
            folder: folder.to_owned(),
        })
    }
}

/// All that a package's binary is built of, itself among them.
pub(crate) fn parts(metadata: &Metadata, package: &str) -> Result<BTreeSet<PackageId>> {
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
pub(crate) fn locked(text: &str) -> BTreeMap<(String, String), Option<String>> {
    let field = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_start_matches(" = ").trim_matches('"').to_owned())
    };
    text.split("[[package]]")
        .filter_map(|package| Some(((field(package, "name")?, field(package, "version")?), field(package, "checksum"))))
        .collect()
}
