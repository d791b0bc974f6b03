//! The index of the error pages.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::Result;

/// A line for each page in the folder, from its heading.
pub(super) fn index(folder: &Path) -> Result<String> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if name == "README.md" {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let heading = text.lines().next().unwrap_or_default();
        let what = heading.split_once(": ").map(|(_, what)| what.to_owned());
        pages.push((name.clone(), what.ok_or_else(|| format!("{name} has no heading"))?));
    }
    pages.sort();
    let mut text = "<!-- Made by `cargo xtask docs` from the pages. -->\n\n# Error codes\n\nEvery error has a code with a page. What an HTTP endpoint answers has the code \
                    `HTTP_` and its status, for instance `HTTP_404`: see [HTTP_STATUS](HTTP_STATUS.md).\n\n| code | what |\n|---|---|\n"
        .to_owned();
    for (name, what) in pages {
        let _ = writeln!(text, "| [{}]({name}) | {what} |", name.trim_end_matches(".md"));
    }
    Ok(text)
}
