//! `cargo xtask new <system> <source|sink>`: a connector that builds, passes its tests and the proof of delivery at once,
//! against a toy in place of its system. What it is made of is in `xtask/templates`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use xtask::Result;

use xtask::cargo::workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The system's name: small letters, digits and `-`, for example `redis` or `my-queue`.
    system: String,
    kind: Kind,
}

/// Which way events go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Out of the system into EventMesh.
    Source,
    /// Out of EventMesh into the system.
    Sink,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let names = Names::of(&arguments.system, arguments.kind)?;
    let folder = workspace().join("connectors").join(&names.name);
    if folder.exists() {
        return Err(format!("{} is there already", folder.display()).into());
    }
    let templates = workspace().join("xtask/templates");
    let page = workspace().join("docs/connectors").join(format!("{}.md", names.name));
    let own = templates.join(names.kind);
    names.write(&own.join("prove.rs.txt"), &folder.join("prove.rs"))?;
    for file in files(&templates)?.into_iter().chain(files(&own.join("src"))?) {
        let place = file.strip_prefix(&own).or_else(|_| file.strip_prefix(&templates))?;
        names.write(&file, &folder.join(place).with_extension(""))?;
    }
    names.write(&own.join("page.md.txt"), &page)?;
    for file in files(&own.join("errors"))? {
        let ending = file.file_name().unwrap_or_default().to_string_lossy().replace(".txt", "");
        let code = format!("{}_{ending}", names.code());
        names.write(&file, &workspace().join("docs/errors").join(code))?;
    }
    println!(
        "{}\n{}\n\nNext:\n  cargo xtask test {}\n  cargo xtask docs\nThen put the real system in the place of the toy: docs/authoring.md",
        folder.display(),
        page.display(),
        names.name
    );
    Ok(())
}

/// The template's files, without those of one kind.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// How the connector is called in each place.
struct Names {
    /// `my-queue`
    system: String,
    /// `sink`
    kind: &'static str,
    /// `my-queue-sink`
    name: String,
}

impl Names {
    fn of(system: &str, kind: Kind) -> Result<Self> {
        let fine = system.starts_with(|c: char| c.is_ascii_lowercase())
            && !system.ends_with('-')
            && system.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !fine {
            return Err(format!("`{system}` can't be a connector's name: small letters, digits and `-`, for example `redis`").into());
        }
        let kind = match kind {
            Kind::Source => "source",
            Kind::Sink => "sink",
        };
        Ok(Self {
            system: system.to_owned(),
            kind,
            name: format!("{system}-{kind}"),
        })
    }

    /// `MyQueue`
    fn capitals(&self) -> String {
        let word = |word: &str| {
            let mut letters = word.chars();
            letters
                .next()
                .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
        };
        self.system.split('-').map(word).collect()
    }

    /// `MY_QUEUE`: what the error codes begin with.
    fn code(&self) -> String {
        self.system.replace('-', "_").to_ascii_uppercase()
    }

    fn write(&self, template: &Path, to: &Path) -> Result<()> {
        let capitals = self.capitals();
        let ty = format!("{capitals}{}", if self.kind == "sink" { "Sink" } else { "Source" });
        let dependencies = match self.kind {
            "sink" => {
                "http.workspace = true\nopenconnect-format.workspace = true\nopenconnect-http = { workspace = true, features = [\"client\"] }\nschemars.workspace = true\nserde.workspace = true"
            }
            _ => "schemars.workspace = true\nserde.workspace = true\ntokio.workspace = true",
        };
        let mut text = fs::read_to_string(template)?;
        let snake = self.name.replace('-', "_");
        for (mark, value) in [
            ("{name}", self.name.as_str()),
            ("{snake}", &snake),
            ("{system}", &self.system),
            ("{System}", &capitals),
            ("{kind}", self.kind),
            ("{Type}", &ty),
            ("{CODE}", &self.code()),
            ("{dependencies}", dependencies),
        ] {
            text = text.replace(mark, value);
        }
        fs::create_dir_all(to.parent().unwrap_or(to))?;
        Ok(fs::write(to, text)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_made_of_the_systems() {
        let names = Names::of("my-queue", Kind::Sink).unwrap();
        assert_eq!((names.name.as_str(), names.capitals().as_str()), ("my-queue-sink", "MyQueue"));
        assert_eq!(names.code(), "MY_QUEUE");
        for wrong in ["", "My", "a_b", "1a", "a-"] {
            assert!(Names::of(wrong, Kind::Source).is_err(), "{wrong}");
        }
    }
}
