//! The layers of a configuration: file, environment, flags.

use std::fs::File;
use std::io::Read;
use std::path::{Path as FilePath, PathBuf};

use openconnect_schema::Node;
use serde_json::{Map, Value};

use crate::codes;
use crate::place::{Path, Place, Places, Step};
use crate::problem::{Problem, Rejected};
use crate::yaml;

/// Largest configuration file.
const MAX_FILE: u64 = 1 << 20;
/// What the names of the environment variables start with.
const PREFIX: &str = "OPENCONNECT__";

/// Where a configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file: `.toml`, `.json`, and YAML under any other name. `-` is standard input: YAML.
    pub file: Option<PathBuf>,
    /// Environment variables: `OPENCONNECT__MESH__URL` sets `mesh.url`; the others serve `${env:…}`.
    pub environment: std::collections::BTreeMap<String, String>,
    /// Flags `key.path=value`.
    pub set: Vec<String>,
}

impl Sources {
    /// A file and flags, with the process's environment. Variables that are not UTF-8 are left out.
    pub fn of_process(file: Option<PathBuf>, set: Vec<String>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        Self { file, environment, set }
    }

    /// For people.
    pub fn origin(&self) -> String {
        match &self.file {
            Some(file) => name(file),
            None => "configuration".to_owned(),
        }
    }

    /// Is nothing given: no file, no flag, no variable that sets anything?
    pub fn is_empty(&self) -> bool {
        self.file.is_none() && self.set.is_empty() && !self.environment.keys().any(|key| key.starts_with(PREFIX))
    }
}

/// The merged value with the place of everything in it.
pub(crate) struct Merged {
    pub(crate) value: Value,
    pub(crate) places: Places,
    pub(crate) problems: Vec<Problem>,
}

/// Reads and merges all layers.
pub(crate) fn merge(sources: &Sources, root: &Value) -> Result<Merged, Rejected> {
    let mut merged = Merged {
        value: Value::Object(Map::new()),
        places: Places::default(),
        problems: Vec::new(),
    };
    if let Some(file) = &sources.file {
        read_file(file, &mut merged)?;
    }
    for (path, name, text) in variables(sources, root) {
        put(&mut merged, &path, text, Place::Environment(name.clone()));
    }
    merged.problems.extend(misspelt(sources, root));
    for flag in &sources.set {
        let Some((key, text)) = flag.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            // The text is not shown: it may be a secret without its key.
            return Err(Rejected::one(
                "--set",
                codes::FLAG_MALFORMED,
                "a flag has no `=`; write --set mesh.topic=orders",
            ));
        };
        let path = Path::parse(key);
        put(&mut merged, &path, text, Place::Flag);
    }
    Ok(merged)
}

fn read_file(path: &FilePath, merged: &mut Merged) -> Result<(), Rejected> {
    let name = name(path);
    let text = read_text(path, &name)?;
    merged.places.file = Some(name.clone());
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    if extension == "toml" {
        merged.value = read_toml(&text, &name)?;
        return Ok(());
    }
    // JSON is YAML as well, and this reader knows the places.
    let document = yaml::parse(&text).map_err(|e| Rejected {
        origin: name.clone(),
        problems: vec![Problem {
            code: codes::CONFIG_MALFORMED,
            path: String::new(),
            place: format!("{name}:{}:{}", e.line, e.column),
            message: e.message,
        }],
    })?;
    for (path, (line, column)) in document.duplicates {
        merged.problems.push(Problem {
            code: codes::DUPLICATE_KEY,
            path: path.to_string(),
            place: format!("{name}:{line}:{column}"),
            message: "this key is there twice".to_owned(),
        });
    }
    merged.places.known.extend(document.places);
    match document.value {
        Value::Object(map) => merged.value = Value::Object(map),
        Value::Null => {}
        _ => {
            return Err(Rejected::one(
                &name,
                codes::CONFIG_MALFORMED,
                "the file must hold keys and values, such as `name: orders`",
            ));
        }
    }
    Ok(())
}

/// The path that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// The file's name, for people.
fn name(path: &FilePath) -> String {
    if path.as_os_str() == STANDARD_INPUT {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

fn read_text(path: &FilePath, name: &str) -> Result<String, Rejected> {
    let unreadable = |e: std::io::Error| Rejected::one(name, codes::CONFIG_UNREADABLE, format!("can't be read: {e}"));
    let input: Box<dyn Read> = if path.as_os_str() == STANDARD_INPUT {
        Box::new(std::io::stdin())
    } else {
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.is_dir() {
            return Err(Rejected::one(name, codes::CONFIG_UNREADABLE, "is a folder, not a file"));
        }
        Box::new(file)
    };
    let mut bytes = Vec::new();
    // Also a pipe or a device has an end here.
    input.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Rejected::one(
            name,
            codes::CONFIG_UNREADABLE,
            "is larger than 1 MiB, which no configuration is",
        ));
    }
    String::from_utf8(bytes).map_err(|e| {
        let valid = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|b| **b == b'\n').count();
        Rejected::one(
            name,
            codes::CONFIG_MALFORMED,
            format!("is not UTF-8 text: the first wrong byte is in line {line}"),
        )
    })
}

fn read_toml(text: &str, name: &str) -> Result<Value, Rejected> {
    let wrong = |e: config::ConfigError| Rejected::one(name, codes::CONFIG_MALFORMED, toml_message(&e.to_string()));
    let source = config::File::from_str(text, config::FileFormat::Toml);
    config::Config::builder()
        .add_source(source)
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(wrong)
}

/// The parser's words without the line of the file that it quotes: that line may hold a secret.
fn toml_message(text: &str) -> String {
    let kept: Vec<&str> = text.lines().filter(|line| !line.contains('|') && !line.trim().is_empty()).collect();
    format!("is not TOML: {}", kept.join(" "))
}

/// The variables that set something, a list's elements by their index: as texts, the tenth would come before the second.
fn variables<'s>(sources: &'s Sources, root: &Value) -> Vec<(Path, &'s String, &'s String)> {
    let set = sources.environment.iter().filter_map(|(name, text)| {
        let rest = name.strip_prefix(PREFIX)?;
        Some((known_path(rest.split("__"), root), name, text))
    });
    let mut set: Vec<_> = set.collect();
    set.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    set
}

/// Variables with one `_` where two belong, which would set nothing without a word.
fn misspelt(sources: &Sources, root: &Value) -> Vec<Problem> {
    let wrong = sources.environment.keys().filter_map(|name| {
        let rest = name.strip_prefix("OPENCONNECT_").filter(|rest| !rest.starts_with('_'))?;
        let setting = setting_of(Node::root(root), rest)?;
        Some(Problem {
            code: codes::UNKNOWN_KEY,
            path: String::new(),
            place: Place::Environment(name.clone()).of_layer(),
            message: format!("sets nothing; write {PREFIX}{setting}"),
        })
    });
    wrong.collect()
}

/// The variable's name behind the prefix that sets what `rest` names, when its words are joined by one `_` or two.
fn setting_of(node: Node<'_>, rest: &str) -> Option<String> {
    let ends = rest.match_indices('_').map(|(at, _)| at).chain([rest.len()]);
    ends.into_iter().find_map(|end| {
        let (name, child) = node.child(&rest[..end])?;
        let name = name.to_ascii_uppercase();
        match rest[end..].trim_start_matches('_') {
            "" => Some(name),
            more => Some(format!("{name}__{}", setting_of(child, more)?)),
        }
    })
}

/// The path of a variable's name, in the letters of the schema.
fn known_path<'p>(parts: impl Iterator<Item = &'p str>, root: &Value) -> Path {
    let mut at = Some(Node::root(root));
    let mut steps = Vec::new();
    for part in parts {
        let found = at.as_ref().and_then(|node| node.child(part));
        let name = found.as_ref().map_or_else(|| part.to_ascii_lowercase(), |(name, _)| name.clone());
        steps.push(name.parse().map_or(Step::Key(name), Step::Index));
        at = found.map(|(_, child)| child);
    }
    Path(steps)
}

/// Sets a value, making the sections on the way.
fn put(merged: &mut Merged, path: &Path, text: &str, place: Place) {
    let mut at = &mut merged.value;
    for step in &path.0 {
        at = match step {
            Step::Index(index) if at.as_array().map_or(at.is_null() && *index == 0, |items| *index <= items.len()) => {
                if at.is_null() {
                    *at = Value::Array(Vec::new());
                }
                let Value::Array(items) = at else { return };
                if *index == items.len() {
                    items.push(Value::Null);
                }
                &mut items[*index]
            }
            Step::Index(index) if at.is_array() => {
                let count = at.as_array().map_or(0, Vec::len);
                merged.problems.push(Problem {
                    code: codes::WRONG_TYPE,
                    path: path.to_string(),
                    place: place.of_layer(),
                    message: format!(
                        "the list has {count} elements, so there is no element {index}; write the list as JSON: [\"a\",\"b\"]"
                    ),
                });
                return;
            }
            step => {
                let key = match step {
                    Step::Key(key) => key.clone(),
                    Step::Index(index) => index.to_string(),
                };
                if !at.is_object() {
                    // A section that another flag or variable has given as JSON keeps what this one does not set.
                    let section = at.as_str().and_then(|text| serde_json::from_str(text).ok());
                    *at = Value::Object(section.unwrap_or_default());
                }
                let Value::Object(map) = at else { return };
                map.entry(key).or_insert(Value::Null)
            }
        };
    }
    *at = Value::String(text.to_owned());
    merged.places.forget(path);
    merged.places.known.insert(path.clone(), place);
    merged.places.untyped.insert(path.clone());
}
