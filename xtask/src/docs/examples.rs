//! Every configuration in the README, the documentation and `examples/` is fit to run: `check` says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use serde_json::{Map, Value};

use super::ask;
use crate::Result;
use crate::binaries;
use crate::cargo::workspace;
use crate::connectors::Connector;

/// The first line of an example names the schema, for editors and for this.
const MODELINE: &str = "# yaml-language-server: $schema=";

pub(super) fn try_all(connectors: &[Connector]) -> Result<()> {
    let mut wrong = Vec::new();
    let mut tried = 0;
    let folder = binaries::target().join("docs-check");
    fs::create_dir_all(&folder)?;
    let mut check = |connector: &Connector, name: &str, text: &str| -> Result<()> {
        tried += 1;
        if let Err(reason) = fits(connector, text, &folder)? {
            wrong.push(format!("{name}: {reason}"));
        }
        Ok(())
    };
    for file in files(&workspace().join("examples"), "yaml")? {
        let text = fs::read_to_string(&file)?;
        let name = text.lines().next().and_then(|line| line.strip_prefix(MODELINE));
        let name = name.and_then(|path| path.rsplit('/').next()?.strip_suffix(".schema.json"));
        let connector = connectors.iter().find(|connector| Some(connector.name.as_str()) == name);
        let connector = connector.ok_or_else(|| format!("{}: its first line must be `{MODELINE}…`", file.display()))?;
        check(connector, &file.display().to_string(), &text)?;
    }
    for connector in connectors {
        let example = String::from_utf8(ask(connector, &["config", "example"])?)?;
        check(connector, &format!("{} config example", connector.package), &example)?;
        let page = workspace().join("docs/connectors").join(format!("{}.md", connector.name));
        for (line, text) in blocks(&fs::read_to_string(&page)?) {
            check(connector, &format!("{}:{line}", page.display()), &text)?;
        }
        let readme = connector.folder.join("README.md");
        for (line, text) in blocks(&fs::read_to_string(&readme).unwrap_or_default()) {
            check(connector, &format!("{readme}:{line}"), &text)?;
        }
    }
    // What every connector has, or every source, or every sink: one of them takes it.
    for file in files(&workspace().join("docs"), "md")? {
        for (line, text) in blocks(&fs::read_to_string(&file)?) {
            let taken = |connector: &&Connector| fits(connector, &text, &folder).is_ok_and(|fits| fits.is_ok());
            let connector = connectors.iter().find(taken).or(connectors.first());
            check(
                connector.ok_or("there is no connector")?,
                &format!("{}:{line}", file.display()),
                &text,
            )?;
        }
    }
    if wrong.is_empty() {
        println!("{tried} configurations in documentation and examples are fit to run");
        Ok(())
    } else {
        Err(wrong.join("\n").into())
    }
}

/// Files of a folder with this ending, in order.
fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == ending) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Blocks of YAML in a page, with their lines.
fn blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut inside = false;
    for (at, line) in page.lines().enumerate() {
        match (inside, line.trim_end()) {
            (false, "```yaml") => {
                inside = true;
                blocks.push((at + 2, String::new()));
            }
            (true, "```") => inside = false,
            (true, line) => {
                if let Some((_, text)) = blocks.last_mut() {
                    text.push_str(line);
                    text.push('\n');
                }
            }
            _ => {}
        }
    }
    blocks
}

/// `check` of the text as it is, or, where it is a part of a configuration, with the least around it.
fn fits(connector: &Connector, text: &str, folder: &Path) -> Result<Result<(), String>> {
    let text = plain_secrets(text);
    let whole = folder.join("whole.yaml");
    fs::write(&whole, &text)?;
    let first = check(connector, &whole)?;
    let (Err(reason), Ok(Value::Object(part))) = (&first, json(&text)) else {
        return Ok(first);
    };
    if part.contains_key("name") && part.contains_key("mesh") {
        return Ok(first);
    }
    let example = String::from_utf8(ask(connector, &["config", "example"])?)?;
    let Ok(Value::Object(least)) = json(&example) else {
        return Ok(Err(reason.clone()));
    };
    let file = folder.join("part.json");
    let sections: Map<String, Value> = least.clone().into_iter().chain(part.clone()).collect();
    fs::write(&file, Value::Object(sections).to_string())?;
    let with_sections = check(connector, &file)?;
    if with_sections.is_ok() {
        return Ok(with_sections);
    }
    fs::write(&file, merged(Value::Object(least), Value::Object(part)).to_string())?;
    check(connector, &file)
}

/// A configuration's YAML as JSON.
fn json(text: &str) -> Result<Value> {
    let documents = Yaml::load_from_str(text)?;
    Ok(documents.first().map_or(Value::Null, value))
}

fn value(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::Boolean(value)) => (*value).into(),
        Yaml::Value(Scalar::Integer(value)) => (*value).into(),
        Yaml::Value(Scalar::FloatingPoint(value)) => (**value).into(),
        Yaml::Value(Scalar::String(value)) => value.as_ref().into(),
        Yaml::Sequence(values) => values.iter().map(value).collect(),
        Yaml::Mapping(entries) => {
            let named = entries
                .iter()
                .filter_map(|(key, entry)| Some((key.as_str()?.to_owned(), value(entry))));
            Value::Object(named.collect())
        }
        Yaml::Tagged(_, tagged) => value(tagged),
        Yaml::Value(Scalar::Null) | Yaml::Representation(..) | Yaml::Alias(_) | Yaml::BadValue => Value::Null,
    }
}

/// `over` where both say something.
fn merged(under: Value, over: Value) -> Value {
    match (under, over) {
        (Value::Object(mut under), Value::Object(over)) => {
            for (key, value) in over {
                let known = under.remove(&key).unwrap_or(Value::Null);
                under.insert(key, merged(known, value));
            }
            Value::Object(under)
        }
        (_, over) => over,
    }
}

/// Files and variables that only the reader has.
fn plain_secrets(text: &str) -> String {
    let mut out = text.to_owned();
    for start in ["${file:", "${env:"] {
        while let Some(at) = out.find(start) {
            let end = out.get(at..).and_then(|rest| rest.find('}')).map_or(out.len(), |end| at + end + 1);
            out.replace_range(at..end, "secret");
        }
    }
    out
}

fn check(connector: &Connector, file: &Path) -> Result<Result<(), String>> {
    let output = Command::new(binaries::built(&connector.package)?)
        .args(["check", "--config"])
        .arg(file)
        .current_dir(file.parent().unwrap_or(file))
        .output()?;
    let told = [output.stdout, output.stderr].concat();
    Ok(if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&told).trim().to_owned())
    })
}
