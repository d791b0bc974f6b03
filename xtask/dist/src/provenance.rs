//! How the files were made: an in-toto statement with SLSA provenance v1. It is not signed here: whoever publishes signs it.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};
use xtask::Result;

use crate::Release;
use crate::target::Target;

pub(crate) fn statement(release: &Release<'_>, targets: &[Target], sums: &BTreeMap<String, String>) -> Result<String> {
    let rustc = String::from_utf8(Command::new("rustc").arg("--version").output()?.stdout)?;
    let subjects: Vec<Value> = sums
        .iter()
        .map(|(name, sum)| json!({ "name": name, "digest": { "sha256": sum } }))
        .collect();
    let triples: Vec<&str> = targets.iter().map(|target| target.triple()).collect();
    let variant = release.variant.map_or_else(String::new, |variant| format!(" --variant {variant}"));
    let command = format!("cargo xtask dist {}{variant}", release.connector.name);
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://github.com/apache/eventmesh/openconnect/dist/v1",
                "externalParameters": {
                    "command": command,
                    "targets": triples,
                },
                "internalParameters": { "rustc": rustc.trim() },
                "resolvedDependencies": [{
                    "uri": "git+https://github.com/apache/eventmesh",
                    "digest": { "gitCommit": release.commit },
                }],
            },
            "runDetails": {
                "builder": { "id": "https://github.com/apache/eventmesh/openconnect/xtask" },
                "metadata": { "invocationId": release.commit },
            },
        },
    });
    Ok(format!("{statement:#}\n"))
}

/// Seconds since 1970 as RFC 3339.
pub(crate) fn rfc3339(epoch: u64) -> String {
    let time = i64::try_from(epoch)
        .ok()
        .and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0));
    time.unwrap_or_default().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
