//! Configuration: one YAML file, environment and flags over it, every mistake reported at once.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

mod settings;
pub use settings::*;

/// A connector's own section (`source:` or `sink:`). Every field has a doc comment: it becomes the reference.
pub trait ConnectorConfig: DeserializeOwned + JsonSchema + Send + 'static {
    /// Checks what types cannot say. Every problem found is reported, not only the first.
    fn validate(&self, problems: &mut Problems) {
        let _ = problems;
    }
}

/// Mistakes found in a connector's section.
#[derive(Debug, Default)]
pub struct Problems(pub(crate) Vec<(String, String)>);

impl Problems {
    /// Reports a mistake at `path` (dotted, relative to the connector's section, e.g. `auth.token_url`).
    pub fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push((path.into(), message.into()));
    }

    /// The mistakes so far: path and message.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(path, message)| (path.as_str(), message.as_str()))
    }
}
