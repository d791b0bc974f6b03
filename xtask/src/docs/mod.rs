//! `cargo xtask docs`: what the documentation says of settings, metrics and errors, made from the programs themselves.
//!
//! | file | what is in it |
//! |---|---|
//! | `reference.rs` | every setting of a connector, from its JSON Schema |
//! | `errors.rs` | the index of the error pages |
//! | `examples.rs` | every configuration in the documentation and in `examples/` is fit to run |
//! | `readme.rs` | the table of programs in the README |
//! | `site.rs` | all pages as a site |

mod errors;
mod examples;
mod readme;
mod reference;
mod site;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::Result;
use crate::binaries;
use crate::cargo::workspace;
use crate::connectors::{self, Connector};
pub use reference::{default, takes};

/// Arguments of `cargo xtask docs`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Write nothing; fail when something is stale.
    #[arg(long)]
    check: bool,
    /// Take the programs in `target/debug` as they are, instead of building them.
    #[arg(long)]
    no_build: bool,
    /// Also make the site, in `target/site`; fetches mdBook.
    #[arg(long)]
    site: bool,
}

/// The command.
///
/// # Errors
/// A page is stale, an example is wrong, or a program can't be built.
pub fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.no_build {
        binaries::build_debug()?;
    }
    pages(arguments.check)?;
    if arguments.site {
        site::build()?;
    }
    Ok(())
}

/// Builds the programs, then does as [`pages`].
///
/// # Errors
/// Those of [`pages`], or a program can't be built.
pub fn build_and_make(check: bool) -> Result<()> {
    binaries::build_debug()?;
    pages(check)
}

/// Writes all generated pages, or with `check` says which are stale; then checks every example. The programs must be built.
///
/// # Errors
/// With `check`, a page is stale; an example is wrong.
pub fn pages(check: bool) -> Result<()> {
    let connectors = connectors::named(&[])?;
    let docs = workspace().join("docs");
    let mut pages = BTreeMap::new();
    for connector in &connectors {
        let schema = schema(connector)?;
        let released = released(connector)?;
        pages.insert(
            docs.join("reference").join(format!("{}.md", connector.name)),
            reference::page(connector, &schema, &released),
        );
        pages.insert(
            docs.join("schemas").join(format!("{}.schema.json", connector.name)),
            format!("{schema:#}\n"),
        );
    }
    let readme = workspace().join("README.md");
    let fresh = readme::page(&fs::read_to_string(&readme)?, &connectors)?;
    pages.insert(readme, fresh);
    pages.insert(docs.join("errors/README.md"), errors::index(&docs.join("errors"))?);
    pages.insert(docs.join("SUMMARY.md"), site::summary(&connectors, &docs)?);
    let mut stale = Vec::new();
    for (file, text) in &pages {
        if fs::read_to_string(file).is_ok_and(|old| old == *text) {
            continue;
        }
        if check {
            stale.push(file.display().to_string());
        } else {
            fs::create_dir_all(file.parent().unwrap_or(file))?;
            fs::write(file, text)?;
            println!("written: {}", file.display());
        }
    }
    if !stale.is_empty() {
        return Err(format!("stale, run `cargo xtask docs`: {}", stale.join(", ")).into());
    }
    examples::try_all(&connectors)?;
    Ok(())
}

/// The JSON Schema of a connector's configuration, as its program prints it.
///
/// # Errors
/// The program is not built.
pub fn schema(connector: &Connector) -> Result<Value> {
    Ok(serde_json::from_slice(&ask(connector, &["config", "schema"])?)?)
}

fn ask(connector: &Connector, arguments: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(binaries::built(&connector.package)?).args(arguments).output()?;
    if !output.status.success() {
        return Err(format!(
            "{} {}: {}",
            connector.package,
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    Ok(output.stdout)
}

/// The schemas of the released versions, oldest first: `released/<version>.schema.json` of the connector.
///
/// # Errors
/// A file is not valid JSON.
pub fn released(connector: &Connector) -> Result<Vec<(semver::Version, Value)>> {
    let folder: PathBuf = connector.folder.join("released").into();
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder).into_iter().flatten() {
        let path = entry?.path();
        let Some(version) = version_of(&path) else { continue };
        all.push((version, serde_json::from_str(&fs::read_to_string(&path)?)?));
    }
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(all)
}

fn version_of(path: &Path) -> Option<semver::Version> {
    path.file_name()?.to_str()?.strip_suffix(".schema.json")?.parse().ok()
}
