//! All pages as a site, by mdBook, which is fetched.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Result;

use crate::cargo::workspace;
use crate::connectors::Connector;
use crate::tools::Tool;

const MDBOOK: Tool = Tool {
    package: "mdbook",
    version: "0.4.52",
    options: &["--no-default-features", "--features", "search"],
};

/// `docs/SUMMARY.md`: what the site has, in order.
pub(super) fn summary(connectors: &[Connector], docs: &Path) -> Result<String> {
    let mut text =
        "<!-- Made by `cargo xtask docs`. -->\n\n# EventMesh connectors in Rust\n\n[What it is](README.md)\n\n# Connectors\n\n".to_owned();
    for connector in connectors {
        let title = title(&docs.join("connectors").join(format!("{}.md", connector.name)))?;
        let _ = writeln!(
            text,
            "- [{title}](connectors/{}.md)\n  - [Settings](reference/{}.md)",
            connector.name, connector.name
        );
    }
    text.push_str("\n# Every connector\n\n");
    let mut pages = Vec::new();
    for entry in fs::read_dir(docs)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if name.ends_with(".md") && !matches!(name.as_str(), "SUMMARY.md" | "README.md") {
            pages.push((title(&path)?, name));
        }
    }
    pages.sort();
    for (title, name) in pages {
        let _ = writeln!(text, "- [{title}]({name})");
    }
    text.push_str("- [Error codes](errors/README.md)\n");
    let mut errors: Vec<String> = fs::read_dir(docs.join("errors"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != "README.md")
        .collect();
    errors.sort();
    for name in errors {
        let _ = writeln!(text, "  - [{}](errors/{name})", name.trim_end_matches(".md"));
    }
    Ok(text)
}

fn title(page: &Path) -> Result<String> {
    let text = fs::read_to_string(page)?;
    let heading = text.lines().find_map(|line| line.strip_prefix("# "));
    Ok(heading
        .ok_or_else(|| format!("{} has no heading", page.display()))?
        .replace('`', ""))
}

pub(super) fn build() -> Result<()> {
    let mdbook = MDBOOK.fetch()?;
    let output = workspace().join("target/site");
    let built = Command::new(mdbook)
        .args(["build", "--dest-dir"])
        .arg(&output)
        .arg(workspace().join("docs"))
        .status()?;
    if !built.success() {
        return Err("the site can't be built".into());
    }
    println!("{}", output.join("index.html").display());
    Ok(())
}
