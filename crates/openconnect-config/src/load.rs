//! From layers to types, with every mistake on the way.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::check::Checker;
use crate::codes;
use crate::layers::{Merged, Sources, merge};
use crate::place::{Path, Places, Spot, Step};
use crate::placeholder::{self, Environment};
use crate::problem::{Problem, Problems, Rejected};
use crate::redact::scrub;
use crate::schema::schema;
use crate::written::Written;

/// Settings that were read, and how they were written.
#[derive(Debug)]
pub struct Read<T> {
    /// The settings.
    pub settings: T,
    /// What was written.
    pub written: Written,
}

/// Reads settings of one type. Nothing given is a configuration as well.
///
/// # Errors
/// Every mistake: in the file, of a layer, against the schema, and those that `validate` finds.
pub fn load<T: DeserializeOwned + JsonSchema>(sources: &Sources, validate: impl FnOnce(&T, &mut Problems)) -> Result<T, Rejected> {
    let read = read(sources, &schema::<T>(), None, |reader| {
        let settings: Option<T> = reader.rest();
        if let Some(settings) = &settings {
            reader.validate("", |problems| validate(settings, problems));
        }
        settings
    })?;
    Ok(read.settings)
}

/// Reads settings that consist of several types: merges the layers of `sources`, holds them against the schema `root`, and lets
/// `types` turn what is left into types. A `section` that is absent counts as an empty one, so that each of its missing settings is named.
///
/// # Errors
/// Every mistake, in the order of the file; also those that `types` finds through the reader.
pub fn read<T>(
    sources: &Sources,
    root: &Value,
    section: Option<&str>,
    types: impl FnOnce(&mut Reader<'_>) -> Option<T>,
) -> Result<Read<T>, Rejected> {
    let Resolved {
        written,
        mut value,
        places,
        found,
    } = Resolved::read(sources, root)?;
    let checker = found.checker(root, &places, &mut value);
    if let (Some(key), Value::Object(map)) = (section, &mut value) {
        let section = map.entry(key).or_insert(Value::Null);
        if section.is_null() {
            *section = Value::Object(Map::new());
        }
    }
    let mut reader = Reader::new(checker, value);
    let settings = types(&mut reader);
    let checker = reader.checker;
    match settings {
        Some(settings) if checker.problems.is_empty() => {
            let written = Written::new(written, &checker.secrets);
            Ok(Read { settings, written })
        }
        _ => Err(rejected(sources.origin(), checker.problems)),
    }
}

/// The layers as one, with their placeholders replaced.
struct Resolved {
    /// As it was written, placeholders and all.
    written: Value,
    value: Value,
    places: Places,
    found: Found,
}

/// The mistakes that were found before the value is held against the schema.
struct Found {
    problems: Vec<Problem>,
    /// Placeholders that can't be replaced, with the reason.
    unresolved: Vec<(Path, String)>,
}

impl Resolved {
    fn read(sources: &Sources, root: &Value) -> Result<Self, Rejected> {
        let Merged {
            mut value,
            mut places,
            problems,
        } = merge(sources, root)?;
        let written = value.clone();
        let mut unresolved = Vec::new();
        resolve(&mut value, &Path::default(), &sources.environment, &mut places, &mut unresolved);
        Ok(Self {
            written,
            value,
            places,
            found: Found { problems, unresolved },
        })
    }
}

impl Found {
    /// A checker that knows these mistakes, so that none is reported for what follows from them.
    fn checker<'a>(self, root: &'a Value, places: &'a Places, value: &mut Value) -> Checker<'a> {
        let mut checker = Checker::new(root, places);
        checker.problems = self.problems;
        checker.leave_out(self.unresolved, value);
        checker
    }
}

/// The mistakes in the order of the file.
fn rejected(origin: String, mut problems: Vec<Problem>) -> Rejected {
    if problems.is_empty() {
        return Rejected::one(&origin, codes::VALUE_REFUSED, "can't be read");
    }
    problems.sort_by_key(|problem| position(&problem.place));
    Rejected { origin, problems }
}

/// Line and column of a place, for mistakes in the order of the file.
fn position(place: &str) -> (usize, usize) {
    let mut parts = place.rsplit(':').map(|part| part.parse().unwrap_or(usize::MAX));
    match (parts.next(), parts.next()) {
        (Some(column), Some(line)) => (line, column),
        _ => (usize::MAX, usize::MAX),
    }
}

/// Replaces the placeholders of every text.
fn resolve(value: &mut Value, path: &Path, environment: &Environment, places: &mut Places, unresolved: &mut Vec<(Path, String)>) {
    match value {
        Value::String(text) => match placeholder::resolve(text, environment) {
            Ok(None) => {}
            Ok(Some(resolved)) => {
                *text = resolved;
                places.untyped.insert(path.clone());
                places.hidden.insert(path.clone());
            }
            Err(message) => unresolved.push((path.clone(), message)),
        },
        Value::Array(items) => {
            for (n, item) in items.iter_mut().enumerate() {
                resolve(item, &path.index(n), environment, places, unresolved);
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                resolve(value, &path.key(key), environment, places, unresolved);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The texts that no message may repeat.
fn secret_values(value: &Value, path: &Path, checker: &Checker<'_>) -> Vec<String> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| secret_values(value, &path.key(key), checker))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(n, item)| secret_values(item, &path.index(n), checker))
            .collect(),
        Value::String(text) if checker.is_hidden(path) => vec![text.clone()],
        _ => Vec::new(),
    }
}

/// Turns a checked configuration into types.
pub struct Reader<'a> {
    checker: Checker<'a>,
    value: Value,
    secrets: Vec<String>,
}

impl<'a> Reader<'a> {
    /// Holds the value against the schema; what is wrong is taken out of it.
    fn new(mut checker: Checker<'a>, mut value: Value) -> Self {
        checker.check_all(&mut value);
        let secrets = secret_values(&value, &Path::default(), &checker);
        Self { checker, value, secrets }
    }

    /// Takes the section `key` and reads it as a `T`; `None` after a mistake, which is then reported.
    pub fn section<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let own = self.value.as_object_mut().and_then(|map| map.remove(key)).unwrap_or(Value::Null);
        self.deserialise(own, &Path::default().key(key))
    }

    /// Takes all that was not taken yet and reads it as a `T`; `None` after a mistake, which is then reported.
    pub fn rest<T: DeserializeOwned>(&mut self) -> Option<T> {
        let value = std::mem::take(&mut self.value);
        self.deserialise(value, &Path::default())
    }

    /// Has no mistake been found in the section `key`?
    pub fn is_clean(&self, key: &str) -> bool {
        let below = Path::default().key(key);
        !self.checker.bad.iter().any(|bad| bad.starts_with(&below))
    }

    /// Reports what `validate` finds in the section at `base` (dotted), except what follows from a mistake that is reported already.
    pub fn validate(&mut self, base: &str, validate: impl FnOnce(&mut Problems)) {
        let mut problems = Problems::default();
        validate(&mut problems);
        self.add(problems, &Path::parse(base));
    }

    /// Reports what a `validate` found, except what follows from a mistake that is already reported.
    fn add(&mut self, problems: Problems, base: &Path) {
        for (path, message) in problems.0 {
            let path = base.join(&Path::parse(&path));
            if !self.is_known(&path) {
                let message = scrub(&message, &self.secrets);
                self.checker.report(codes::VALUE_REFUSED, &path, Spot::Value, message);
            }
        }
    }

    fn is_known(&self, path: &Path) -> bool {
        self.checker
            .bad
            .iter()
            .any(|bad| bad.starts_with(path) && !path.0.is_empty() || path.starts_with(bad))
    }

    /// Reads a type. At a mistake the value is taken out and the reading starts again, to find the next one.
    fn deserialise<T: DeserializeOwned>(&mut self, mut value: Value, base: &Path) -> Option<T> {
        for _ in 0..32 {
            let wrong = match serde_path_to_error::deserialize(&value) {
                Ok(read) => return Some(read),
                Err(wrong) => wrong,
            };
            let inside = steps(wrong.path());
            let path = base.join(&inside);
            if !self.is_known(&path) && !self.checker.bad.iter().any(|bad| bad.starts_with(&path)) {
                let message = if self.checker.is_hidden(&path) {
                    "the value (not shown) is not accepted here".to_owned()
                } else {
                    scrub(&wrong.inner().to_string(), &self.secrets)
                };
                self.checker.report(codes::VALUE_REFUSED, &path, Spot::Value, message);
            }
            if !inside.remove(&mut value) {
                return None;
            }
        }
        None
    }
}

fn steps(path: &serde_path_to_error::Path) -> Path {
    use serde_path_to_error::Segment;
    Path(
        path.iter()
            .filter_map(|segment| match segment {
                Segment::Seq { index } => Some(Step::Index(*index)),
                Segment::Map { key } => Some(Step::Key(key.clone())),
                Segment::Enum { variant } => Some(Step::Key(variant.clone())),
                Segment::Unknown => None,
            })
            .collect(),
    )
}
