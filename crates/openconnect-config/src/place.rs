//! Where a value of the configuration is and where it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

/// One step from a value to one inside it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// The way from the root to a value; shown as `transforms[0].jq`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path(pub(crate) Vec<Step>);

impl Path {
    pub(crate) fn key(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Self(steps)
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }

    /// From text as connectors write it: `auth.token_url`, `rules[2].when`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut steps = Vec::new();
        for part in text.split('.').filter(|part| !part.is_empty()) {
            let (name, mut rest) = part.find('[').map_or((part, ""), |at| part.split_at(at));
            if !name.is_empty() {
                steps.push(name.parse().map_or_else(|_| Step::Key(name.to_owned()), Step::Index));
            }
            while let Some((index, after)) = rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
                steps.push(index.parse().map_or_else(|_| Step::Key(index.to_owned()), Step::Index));
                rest = after;
            }
        }
        Self(steps)
    }

    pub(crate) fn join(&self, other: &Self) -> Self {
        Self(self.0.iter().chain(&other.0).cloned().collect())
    }

    pub(crate) fn parent(&self) -> Option<Self> {
        self.0.split_last().map(|(_, rest)| Self(rest.to_vec()))
    }

    pub(crate) fn starts_with(&self, prefix: &Self) -> bool {
        self.0.starts_with(&prefix.0)
    }

    pub(crate) fn get_mut<'v>(&self, root: &'v mut Value) -> Option<&'v mut Value> {
        self.0.iter().try_fold(root, |value, step| match step {
            Step::Key(key) => value.get_mut(key),
            Step::Index(index) => value.get_mut(index),
        })
    }

    /// Takes the value out; elements of lists become null so that the others keep their index.
    pub(crate) fn remove(&self, root: &mut Value) -> bool {
        let Some((last, parent)) = self.0.split_last() else {
            return false;
        };
        match (Self(parent.to_vec()).get_mut(root), last) {
            (Some(Value::Object(map)), Step::Key(key)) => map.remove(key).is_some(),
            _ => false,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if n == 0 => write!(f, "{key}")?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Line and column in the file, both from 1: of the key, and of the value.
    File { key: (usize, usize), value: (usize, usize) },
    /// An environment variable.
    Environment(String),
    /// A `--set` flag.
    Flag,
}

impl Place {
    /// The layer, for people.
    pub(crate) fn of_layer(&self) -> String {
        match self {
            Self::File { .. } => "configuration".to_owned(),
            Self::Environment(name) => format!("environment variable {name}"),
            Self::Flag => "--set".to_owned(),
        }
    }
}

/// The places of everything in the merged configuration, and what must not be shown of it.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Name of the file, for people.
    pub(crate) file: Option<String>,
    pub(crate) known: BTreeMap<Path, Place>,
    /// Texts whose type was not written down (environment, flags, placeholders): they may be read as numbers.
    pub(crate) untyped: BTreeSet<Path>,
    /// Values that came through a placeholder: shown only as written.
    pub(crate) hidden: BTreeSet<Path>,
}

/// Which end of an entry a problem is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spot {
    Key,
    Value,
}

impl Places {
    /// The place of `path`, or of the nearest thing around it, as text for people.
    pub(crate) fn describe(&self, path: &Path, spot: Spot) -> String {
        let mut at = Some(path.clone());
        let mut spot = spot;
        while let Some(path) = at {
            match self.known.get(&path) {
                Some(Place::File { key, value }) => {
                    let (line, column) = if spot == Spot::Key { key } else { value };
                    return format!("{}:{line}:{column}", self.file.as_deref().unwrap_or("configuration"));
                }
                Some(place) => return place.of_layer(),
                None => {
                    at = path.parent();
                    spot = Spot::Key;
                }
            }
        }
        self.file.clone().unwrap_or_else(|| "configuration".to_owned())
    }

    /// Forgets what was known at and below `path`: another layer has replaced it.
    pub(crate) fn forget(&mut self, path: &Path) {
        self.known.retain(|known, _| !known.starts_with(path));
        self.untyped.retain(|known| !known.starts_with(path));
    }
}
