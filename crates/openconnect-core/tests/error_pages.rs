//! Every error code of the workspace has a page, every page a code, and the mesh has a range of its own.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Codes such as `OC0123` in a text.
fn codes(text: &str, into: &mut BTreeSet<String>) {
    for (at, _) in text.match_indices("OC") {
        let code: String = text[at..].chars().take(6).collect();
        let rest = text[at..].chars().nth(6);
        let digits = code.len() == 6 && code[2..].bytes().all(|b| b.is_ascii_digit());
        if digits && !rest.is_some_and(|c| c.is_ascii_alphanumeric()) {
            into.insert(code);
        }
    }
}

fn sources(folder: &Path, into: &mut BTreeSet<String>) {
    for path in entries(folder) {
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                codes(line, into);
            }
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The codes of each crate, by its name.
fn used(root: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let crates = entries(&root.join("crates")).into_iter().chain(entries(&root.join("connectors")));
    crates
        .filter(|folder| folder.join("src").is_dir())
        .map(|folder| {
            let mut codes = BTreeSet::new();
            sources(&folder.join("src"), &mut codes);
            (folder.file_name().unwrap().to_string_lossy().into_owned(), codes)
        })
        .collect()
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut used: BTreeSet<String> = used(&root).into_values().flatten().collect();
    for page in entries(&root.join("docs/errors")) {
        let code = page.file_stem().unwrap().to_string_lossy().into_owned();
        if code == "README" {
            continue;
        }
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.starts_with(&format!("# {code}: ")), "{} has no title", page.display());
        assert!(used.remove(&code), "no crate uses {code}, but there is {}", page.display());
    }
    assert!(used.is_empty(), "no page in docs/errors for {used:?}");
}

#[test]
fn the_mesh_has_a_range_of_its_own() {
    for (name, codes) in used(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")) {
        for code in codes {
            assert_eq!(name == "openconnect-mesh", code.starts_with("OC06"), "{name} uses {code}");
        }
    }
}
