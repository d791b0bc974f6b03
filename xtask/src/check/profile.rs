//! `cargo xtask check profile`: the packages that the root Cargo.toml's profiles name are in Cargo.lock. Cargo itself is silent about
//! a package that is gone, and what was meant to be fast would then be slow.

use std::collections::BTreeSet;

use xtask::cargo::workspace;
use xtask::{Result, connectors};

pub(super) fn check() -> Result<()> {
    let read = |name: &str| std::fs::read_to_string(workspace().join(name));
    let manifest = read("Cargo.toml")?;
    let unknown = unknown(&manifest, &read("Cargo.lock")?);
    if unknown.is_empty() {
        return Ok(());
    }
    Err(format!(
        "a profile in Cargo.toml names packages that are not in Cargo.lock: {}",
        unknown.join(", ")
    )
    .into())
}

/// The packages with a profile of their own that are not locked.
fn unknown<'m>(manifest: &'m str, lock: &str) -> Vec<&'m str> {
    let locked: BTreeSet<String> = connectors::locked(lock).into_keys().map(|(name, _)| name).collect();
    overridden(manifest).filter(|name| !locked.contains(*name)).collect()
}

/// `name` of each `[profile.<profile>.package.<name>]`, and of each line below `[profile.<profile>.package]`; `*` stands for all.
fn overridden(manifest: &str) -> impl Iterator<Item = &str> {
    let mut in_table = false;
    manifest
        .lines()
        .filter_map(move |line| {
            let line = line.trim();
            if let Some(header) = line.strip_prefix('[') {
                let path = header.trim_end_matches(']');
                let package = path.strip_prefix("profile.").and_then(|path| path.split_once(".package"));
                in_table = package.is_some_and(|(_, name)| name.is_empty());
                return package.and_then(|(_, name)| name.strip_prefix('.'));
            }
            let name = line.split_once('=').map(|(name, _)| name.trim());
            name.filter(|name| in_table && !name.starts_with('#'))
        })
        .map(|name| name.trim_matches('"'))
        .filter(|name| *name != "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_is_gone_is_found() {
        let manifest = "[profile.dev]\ndebug = 1\n[profile.dev.package.\"*\"]\ndebug = false\n[profile.release.package.gone]\nopt-level = 3\n\
                        [profile.release.package]\n# fast\nhyper = { opt-level = 3 }\nlost = { opt-level = 3 }\n[other]\nname = 1";
        let lock = "[[package]]\nname = \"hyper\"\nversion = \"1.0.0\"\n";
        assert_eq!(unknown(manifest, lock), ["gone", "lost"]);
    }
}
