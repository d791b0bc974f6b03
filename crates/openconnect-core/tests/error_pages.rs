//! Every error code is in the table of its crate, each once, and has a page that says the same; no page is left over.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A line of a crate's table.
#[derive(Debug)]
struct Line {
    /// The folder of the crate.
    owner: String,
    /// The code, or the name of a family of codes.
    name: String,
    meaning: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

/// The crates and connectors.
fn crates() -> Vec<PathBuf> {
    let all = entries(&root().join("crates"))
        .into_iter()
        .chain(entries(&root().join("connectors")));
    all.filter(|folder| folder.join("src").is_dir()).collect()
}

/// The tables of all crates: a sentence in a line, and the constant in the next.
fn tables() -> Vec<Line> {
    let mut lines = Vec::new();
    for folder in crates() {
        let Ok(text) = fs::read_to_string(folder.join("src/codes.rs")) else {
            continue;
        };
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let mut meaning = None;
        for line in text.lines().map(str::trim) {
            if let Some(sentence) = line.strip_prefix("/// ") {
                meaning = sentence.strip_suffix('.').map(str::to_owned);
            } else if let Some(constant) = line.strip_suffix(',') {
                let (name, code) = constant.split_once(" = ").unwrap_or((constant, ""));
                // A family has its page under the name of the constant.
                let code = if code.ends_with("number") { "" } else { code.trim_matches('"') };
                lines.push(Line {
                    owner: folder.file_name().unwrap().to_string_lossy().into_owned(),
                    name: if code.is_empty() { name } else { code }.to_owned(),
                    meaning: meaning.take().unwrap_or_else(|| panic!("{constant} has no sentence")),
                });
            }
        }
    }
    lines
}

#[test]
fn what_is_read_of_a_table_is_what_the_program_has() {
    let read: Vec<(String, String)> = tables()
        .into_iter()
        .filter(|line| line.owner == "openconnect-core")
        .map(|line| (line.name, format!("{}.", line.meaning)))
        .collect();
    let table = openconnect_core::codes::TABLE.iter();
    let has: Vec<(String, String)> = table.map(|entry| (entry.name.to_owned(), entry.meaning.to_owned())).collect();
    assert_eq!(read, has);
}

#[test]
fn every_code_stands_once_and_has_a_page_and_every_page_a_code() {
    let pages = root().join("docs/errors");
    let mut names = BTreeSet::new();
    for line in tables() {
        let page = pages.join(format!("{}.md", line.name));
        let text = fs::read_to_string(&page).unwrap_or_else(|_| panic!("{line:?} has no page in docs/errors"));
        let title = format!("# {}: {}", line.name, line.meaning);
        assert_eq!(text.lines().next(), Some(title.as_str()), "{}", page.display());
        assert!(names.insert(line.name.clone()), "{line:?} is in two tables");
    }
    for page in entries(&pages) {
        let name = page.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(
            name == "README" || names.contains(&name),
            "no table has the code of {}",
            page.display()
        );
    }
}

/// Only `code_table!` makes a code, so that no code is beside the tables.
#[test]
fn a_crate_has_one_table() {
    fn tables_in(folder: &Path, found: &mut Vec<PathBuf>) {
        for path in entries(folder) {
            if path.is_dir() {
                tables_in(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let mut lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
                if lines.any(|line| line.contains("code_table! {")) {
                    found.push(path);
                }
            }
        }
    }
    // Its own tests have a table.
    for folder in crates().into_iter().filter(|folder| !folder.ends_with("openconnect-error")) {
        let mut found = Vec::new();
        tables_in(&folder.join("src"), &mut found);
        assert!(found.iter().all(|path| *path == folder.join("src/codes.rs")), "{found:?}");
    }
}

#[test]
fn the_mesh_has_a_range_of_its_own() {
    for line in tables() {
        assert_eq!(line.owner == "openconnect-mesh", line.name.starts_with("OC06"), "{line:?}");
    }
}
