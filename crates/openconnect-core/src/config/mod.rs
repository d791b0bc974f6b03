//! Configuration: one YAML file, environment and flags over it, every mistake reported at once.
//!
//! | file | what is in it |
//! |---|---|
//! | `settings` | the settings that every connector has |
//! | `layers`, `yaml`, `placeholder` | file, environment and flags merged into one value; `${env:…}` and `${file:…}` |
//! | `place`, `problem` | where a value was written; one mistake |
//! | `schema`, `check`, `validate` | the schema; the value held against it; what types cannot say |
//! | `load` | all of it in order |
//! | `redact`, `example`, `write`, `dotted` | what may be shown; an example made from the schema; a value as YAML, and by dotted paths |

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::import::Import;

mod check;
mod dotted;
mod example;
mod layers;
mod load;
mod place;
mod placeholder;
mod problem;
mod redact;
mod schema;
mod settings;
mod validate;
mod write;
mod yaml;

pub(crate) use dotted::dotted;
pub use example::{example, example_alone};
pub use layers::Sources;
pub use load::{Loaded, load, load_alone};
pub use problem::{Problem, Rejected};
pub use schema::{Section, schema, schema_alone};
pub use settings::*;
pub(crate) use write::write_yaml;
pub use yaml::yaml_value;

/// A connector's own section (`source:` or `sink:`). Every field has a doc comment: it becomes the reference. A required
/// field has an example (`#[schemars(example = &"…")]`) that passes `validate`: it becomes part of `config example`.
pub trait ConnectorConfig: DeserializeOwned + JsonSchema + Send + 'static {
    /// Checks what types cannot say. Every problem found is reported, not only the first.
    fn validate(&self, problems: &mut Problems) {
        let _ = problems;
    }

    /// For `config plan`: what a change of the setting at `path` (dotted, relative to the connector's section) does to events
    /// that were delivered or will be. None where it only holds from the restart on, and nothing is repeated or left out.
    fn effect_of_change(path: &str) -> Option<&'static str> {
        let _ = path;
        None
    }

    /// What a source tells: a row of the table of event types in its reference. Empty for a sink, which takes any event.
    fn events() -> &'static [EventKind] {
        &[]
    }

    /// For `import-eventmesh`: takes over what the Java connector of the same kind has in its own section. What is not taken is
    /// named as having no counterpart.
    fn import(import: &mut Import) {
        let _ = import;
    }
}

/// A kind of event that a source makes.
#[derive(Debug, Clone, Copy)]
pub struct EventKind {
    /// The `type` attribute. `<…>` stands for what varies, and names the setting where one decides it.
    pub ty: &'static str,
    /// When there is one.
    pub when: &'static str,
    /// What the data is.
    pub data: &'static str,
    /// What `subject`, `partitionkey` and extensions say.
    pub attributes: &'static str,
}

/// Mistakes found in a connector's section.
#[derive(Debug, Default)]
pub struct Problems(pub(crate) Vec<(String, String)>);

impl Problems {
    /// Reports a mistake at `path` (dotted, relative to the connector's section, e.g. `auth.token_url`). The message never
    /// holds the value of a secret.
    pub fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push((path.into(), message.into()));
    }

    /// The mistakes so far: path and message.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(path, message)| (path.as_str(), message.as_str()))
    }
}
