//! From layers to typed settings, with every mistake on the way.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::check::Checker;
use super::layers::{Merged, Sources, merge};
use super::place::{Path, Places, Spot, Step};
use super::placeholder::{self, Environment};
use super::problem::{Problem, Rejected};
use super::redact::{redact, scrub};
use super::schema::{Section, schema, schema_alone};
use super::{ConnectorConfig, Problems, Settings, validate};

/// A configuration that is fit to run.
#[derive(Debug)]
pub struct Loaded<C> {
    /// The settings that every connector has.
    pub settings: Settings,
    /// The connector's own section.
    pub connector: C,
    /// What was written, for people: without secrets, placeholders as they were written.
    pub shown: Value,
    /// The file's name.
    pub origin: String,
}

/// Loads the configuration of a connector whose section is `C`.
pub fn load<C: ConnectorConfig>(sources: &Sources, section: Section) -> Result<Loaded<C>, Rejected> {
    let origin = sources.origin();
    if sources.is_empty() {
        return Err(Rejected::one(
            &origin,
            "OC0101",
            "there is none: give a file with --config, or make one with `config example`",
        ));
    }
    let root = schema::<C>(section);
    let Resolved {
        written,
        mut value,
        places,
        found,
    } = Resolved::read(sources, &root)?;
    let checker = found.checker(&root, &places, &mut value);
    if let Value::Object(map) = &mut value {
        map.entry(section.key()).or_insert_with(|| Value::Object(Map::new()));
        if map.get(section.key()).is_some_and(Value::is_null) {
            map.insert(section.key().to_owned(), Value::Object(Map::new()));
        }
    }
    let mut typed = Typed::new(checker, &mut value);
    let (settings, connector) = typed.read::<C>(value, section);
    let checker = typed.checker;
    match (settings, connector) {
        (Some(settings), Some(connector)) if checker.problems.is_empty() => {
            let shown = redact(&written, &Path::default(), &checker.secrets);
            Ok(Loaded {
                settings,
                connector,
                shown,
                origin,
            })
        }
        _ => Err(rejected(origin, checker.problems)),
    }
}

/// Loads settings that stand alone, without those that every connector has. Nothing given is a configuration as well.
pub fn load_alone<T: DeserializeOwned + JsonSchema>(sources: &Sources, validate: impl FnOnce(&T, &mut Problems)) -> Result<T, Rejected> {
    let root = schema_alone::<T>();
    let Resolved {
        mut value, places, found, ..
    } = Resolved::read(sources, &root)?;
    let checker = found.checker(&root, &places, &mut value);
    let mut typed = Typed::new(checker, &mut value);
    let settings: Option<T> = typed.deserialise(value, &Path::default());
    if let Some(settings) = &settings {
        let mut problems = Problems::default();
        validate(settings, &mut problems);
        typed.add(problems, &Path::default());
    }
    match settings {
        Some(settings) if typed.checker.problems.is_empty() => Ok(settings),
        _ => Err(rejected(sources.origin(), typed.checker.problems)),
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
        return Rejected::one(&origin, "OC0106", "can't be read");
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

/// Reading the checked value into its types.
struct Typed<'a> {
    checker: Checker<'a>,
    secrets: Vec<String>,
}

impl<'a> Typed<'a> {
    /// Holds the value against the schema; what is wrong is taken out of it.
    fn new(mut checker: Checker<'a>, value: &mut Value) -> Self {
        checker.check_all(value);
        let secrets = secret_values(value, &Path::default(), &checker);
        Self { checker, secrets }
    }

    fn read<C: ConnectorConfig>(&mut self, mut value: Value, section: Section) -> (Option<Settings>, Option<C>) {
        let below = Path(vec![Step::Key(section.key().to_owned())]);
        let own = value
            .as_object_mut()
            .and_then(|map| map.remove(section.key()))
            .unwrap_or(Value::Null);
        let settings: Option<Settings> = self.deserialise(value, &Path::default());
        let connector: Option<C> = self.deserialise(own, &below);
        if let Some(settings) = &settings {
            let mut problems = Problems::default();
            validate::settings(settings, section, &mut problems);
            self.add(problems, &Path::default());
        }
        let clean = !self.checker.bad.iter().any(|bad| bad.starts_with(&below));
        if let (Some(connector), true) = (&connector, clean) {
            let mut problems = Problems::default();
            connector.validate(&mut problems);
            self.add(problems, &below);
        }
        (settings, connector)
    }

    /// Reports what a `validate` found, except what follows from a mistake that is already reported.
    fn add(&mut self, problems: Problems, base: &Path) {
        for (path, message) in problems.0 {
            let path = base.join(&Path::parse(&path));
            if !self.is_known(&path) {
                let message = scrub(&message, &self.secrets);
                self.checker.report("OC0106", &path, Spot::Value, message);
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
                self.checker.report("OC0106", &path, Spot::Value, message);
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
