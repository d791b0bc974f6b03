//! Configurations of EventMesh's Java connectors (`source-config.yml`, `sink-config.yml`), turned into ours.
//!
//! The keys that every Java connector has are `pubSubConfig`, `pollConfig` and `offsetStorageConfig`; the connector's own stand
//! in `connectorConfig`, `sourceConnectorConfig` or `sinkConnectorConfig` (`PubSubConfig.java`, `SourceConfig.java`,
//! `SinkConfig.java` of `eventmesh-openconnect-java` 1.11).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use openconnect_config::{dotted, write_yaml, yaml_value};
use serde_json::{Map, Value};

use super::section::Section;
use crate::codes;
use crate::error::{Error, Result};

const SECTIONS: [&str; 3] = ["connectorConfig", "sourceConnectorConfig", "sinkConnectorConfig"];
const NO_COUNTERPART: &str = "has no counterpart";

/// A Java configuration while it is taken apart, and ours while it grows.
#[derive(Debug)]
pub struct Import {
    /// What was not taken yet: values by their dotted keys.
    java: BTreeMap<String, Value>,
    /// The name of the connector's own section, with a dot behind it.
    own: String,
    out: Value,
    notes: Vec<String>,
}

impl Import {
    /// Takes a text apart, YAML or JSON, and what every connector has.
    pub(crate) fn new(text: &str, section: Section) -> Result<Self> {
        let value = yaml_value(text).map_err(|e| Error::config(codes::IMPORT_REFUSED, "the configuration is not YAML").because(e))?;
        let java = dotted(&value);
        let own = SECTIONS.into_iter().find(|name| value.get(name).is_some()).unwrap_or(SECTIONS[0]);
        if ["sourceEnable", "sinkEnable"].iter().any(|key| value.get(key).is_some()) {
            return Err(Error::config(
                codes::IMPORT_REFUSED,
                "this is a server-config.yml: it only says which of source and sink a process runs",
            )
            .hint("Here each is a binary of its own. Give the source-config.yml or the sink-config.yml."));
        }
        let mut import = Self {
            java,
            own: format!("{own}."),
            out: Value::Object(Map::new()),
            notes: Vec::new(),
        };
        import.shared(section);
        Ok(import)
    }

    fn shared(&mut self, section: Section) {
        let default = format!("imported-{}", section.key());
        let name = self.take("connectorName").and_then(|name| name.as_str().map(instance));
        self.put("name", name.filter(|name| !name.is_empty()).unwrap_or(default));
        if let Some(address) = self.pull("pubSubConfig.meshAddress") {
            self.put("mesh.url", format!("tcp://{}", address.as_str().unwrap_or_default()));
        }
        for (key, path) in [("subject", "mesh.topic"), ("group", "mesh.group"), ("userName", "mesh.username")] {
            if let Some(value) = self.pull(&format!("pubSubConfig.{key}")) {
                self.put(path, value);
            }
        }
        if self.pull("pubSubConfig.passWord").is_some() {
            self.hide("pubSubConfig.passWord", "mesh.password", "MESH_PASSWORD");
        }
        for key in ["idc", "env", "appId"] {
            if self.pull(&format!("pubSubConfig.{key}")).is_some() {
                self.note(format!(
                    "pubSubConfig.{key} {NO_COUNTERPART}: the server does not tell clients apart by it"
                ));
            }
        }
        let drop = |import: &mut Self, prefix: &str, why: &str| {
            let before = import.java.len();
            import.java.retain(|key, _| !key.starts_with(prefix));
            if import.java.len() < before {
                import.note(format!("{} {why}", prefix.trim_end_matches('.')));
            }
        };
        drop(
            self,
            "offsetStorageConfig.",
            "is not needed: offsets are in the state folder, or with `state.offsets` in a database. Those of the Java connector can't be taken over, \
             for it never read them again",
        );
        drop(self, "pollConfig.", "is not needed: memory is bounded by `limits.memory`");
    }

    /// Takes a value of the connector's own section by its dotted key.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        let key = format!("{}{key}", self.own);
        self.pull(&key)
    }

    /// Takes a value of the connector's own section that is a text, or a number as its text.
    pub fn take_text(&mut self, key: &str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        }
    }

    /// Takes all values of a list in the connector's own section.
    pub fn take_list(&mut self, key: &str) -> Vec<Value> {
        match self.take(key) {
            Some(Value::Array(list)) => list,
            Some(other) => vec![other],
            None => Vec::new(),
        }
    }

    /// Sets a value of ours by its dotted path, such as `sink.url` or `delivery.retry.initial`.
    pub fn put(&mut self, path: &str, value: impl Into<Value>) {
        let mut at = &mut self.out;
        for key in path.split('.') {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            let Value::Object(map) = at else { return };
            at = map.entry(key).or_insert(Value::Null);
        }
        *at = value.into();
    }

    /// Takes a secret of the connector's own section: ours refers to an environment variable, the value is not shown.
    pub fn put_secret(&mut self, key: &str, path: &str, variable: &str) {
        if self.take(key).is_some() {
            let key = format!("{}{key}", self.own);
            self.hide(&key, path, variable);
        }
    }

    fn hide(&mut self, key: &str, path: &str, variable: &str) {
        self.put(path, format!("${{env:{variable}}}"));
        self.note(format!(
            "{key} is a secret and not shown: give it in the environment variable {variable}"
        ));
    }

    /// Says something to the person who reads the result.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Takes values that have no counterpart here, and says why.
    pub fn without_counterpart(&mut self, keys: &[&str], why: &str) {
        for key in keys {
            if self.take(key).is_some() {
                self.note(format!("{}{key} {NO_COUNTERPART}: {why}", self.own));
            }
        }
    }

    fn pull(&mut self, key: &str) -> Option<Value> {
        self.java.remove(key).filter(|value| !value.is_null())
    }

    /// Ours as YAML; what a person must know stands above it as comments.
    pub(crate) fn finish(mut self, file: &str) -> String {
        let unknown: Vec<String> = self.java.keys().map(|key| format!("{key} {NO_COUNTERPART}")).collect();
        self.notes.extend(unknown);
        let mut text = format!("# Made of {file}. Look it through, then run `check --connect`.\n");
        for note in &self.notes {
            let _ = writeln!(text, "# - {note}");
        }
        text + &write_yaml(&self.out)
    }
}

/// A name that an instance may have.
fn instance(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
                c
            } else {
                '-'
            }
        })
        .collect()
}
