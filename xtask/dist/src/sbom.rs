//! What a connector is made of, as CycloneDX 1.5: every crate that is built into its binary or runs while it is built.

use serde_json::{Value, json};
use xtask::Result;

use crate::{Release, text};
use xtask::cargo::workspace;
use xtask::connectors::{locked, metadata, parts};

pub(crate) fn cyclonedx(release: &Release<'_>) -> Result<String> {
    let metadata = metadata()?;
    let parts = parts(&metadata, &release.connector.package)?;
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
