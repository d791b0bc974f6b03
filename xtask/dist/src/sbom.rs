//! What a connector is made of, as CycloneDX 1.5: every crate that is built into its binary or runs while it is built.

use std::collections::BTreeSet;

use cargo_metadata::{Metadata, Package, PackageId};
use serde_json::{Value, json};
use xtask::Result;

use crate::{Release, text};
use xtask::cargo::workspace;
use xtask::connectors::{locked, metadata, parts};

/// All that the binary is built of. Cargo's metadata is that of the whole workspace, with the features of all its packages: what the
/// connector's own features leave out is not part of it.
fn linked(release: &Release<'_>, metadata: &Metadata) -> Result<BTreeSet<PackageId>> {
    let mut tree = xtask::cargo::command();
    tree.args([
        "tree",
        "--locked",
        "--edges",
        "normal,build",
        "--target",
        "all",
        "--prefix",
        "none",
        "--package",
    ]);
    tree.arg(&release.connector.package)
        .args(release.features())
        .current_dir(workspace());
    let out = tree.output()?;
    if !out.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&out.stderr)).into());
    }
    let text = String::from_utf8(out.stdout)?;
    let named: BTreeSet<(&str, &str)> = text
        .lines()
        .filter_map(|line| {
            line.split_once(" v")
                .map(|(name, rest)| (name, rest.split(' ').next().unwrap_or(rest)))
        })
        .collect();
    let mut parts = parts(metadata, &release.connector.package)?;
    let version = |package: &Package| package.version.to_string();
    let left_out = metadata
        .packages
        .iter()
        .filter(|package| !named.contains(&(package.name.as_str(), version(package).as_str())));
    for package in left_out {
        parts.remove(&package.id);
    }
    Ok(parts)
}

pub(crate) fn cyclonedx(release: &Release<'_>) -> Result<String> {
    let metadata = metadata()?;
    let parts = linked(release, &metadata)?;
    let sums = locked(&text(&workspace().join("Cargo.lock"))?);
    let reference = |name: &str, version: &str| format!("pkg:cargo/{name}@{version}");
    let mut components = Vec::new();
    let mut depends = Vec::new();
    let nodes = metadata
        .resolve
        .as_ref()
        .map(|resolve| resolve.nodes.as_slice())
        .unwrap_or_default();
    for package in metadata.packages.iter().filter(|package| parts.contains(&package.id)) {
        let (name, version) = (package.name.to_string(), package.version.to_string());
        let own = reference(&name, &version);
        let node = nodes.iter().find(|node| node.id == package.id);
        let needed: Vec<String> = node
            .into_iter()
            .flat_map(|node| &node.deps)
            .filter(|dependency| parts.contains(&dependency.pkg))
            .filter_map(|dependency| metadata.packages.iter().find(|other| other.id == dependency.pkg))
            .map(|other| reference(&other.name, &other.version.to_string()))
            .collect();
        depends.push(json!({ "ref": own, "dependsOn": needed }));
        if package.name.as_str() == release.connector.package {
            continue;
        }
        let mut component = json!({ "type": "library", "bom-ref": own, "name": name, "version": version, "purl": own });
        if let Value::Object(component) = &mut component {
            if let Some(licence) = &package.license {
                component.insert("licenses".into(), json!([{ "expression": licence.replace('/', " OR ") }]));
            }
            if let Some(Some(sum)) = sums.get(&(name, version)) {
                component.insert("hashes".into(), json!([{ "alg": "SHA-256", "content": sum }]));
            }
        }
        components.push(component);
    }
    let connector = release.connector;
    let bom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": crate::provenance::rfc3339(release.epoch),
            "component": {
                "type": "application", "bom-ref": reference(&connector.package, &connector.version), "name": connector.package,
                "version": connector.version, "description": connector.description, "licenses": [{ "expression": "Apache-2.0" }],
                "purl": reference(&connector.package, &connector.version),
            },
        },
        "components": components,
        "dependencies": depends,
    });
    Ok(format!("{bom:#}\n"))
}
