//! Every error code has a page, and every page a code.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

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
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
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

#[test]
fn every_code_has_a_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut used = BTreeSet::new();
    sources(&root.join("src"), &mut used);
    let pages = root.join("../../docs/errors");
    let missing: Vec<&String> = used.iter().filter(|code| !pages.join(format!("{code}.md")).is_file()).collect();
    assert!(missing.is_empty(), "no page in docs/errors for {missing:?}");
    for page in std::fs::read_dir(pages).unwrap() {
        let path = page.unwrap().path();
        let code = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&format!("# {code}: ")), "{} has no title", path.display());
    }
}
