//! Every setting of a connector as a table, from its JSON Schema.

use std::fmt::Write as _;

use semver::Version;
use serde_json::{Map, Value};

use crate::connectors::Connector;

/// One setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// `sink.auth.token`; `[]` stands for each element of a list, `<name>` for any key.
    pub path: String,
    /// The type of its value, for people.
    pub takes: String,
    /// What holds without it.
    pub default: Option<Value>,
    /// A value that a user could keep.
    pub example: Option<Value>,
    /// What it does.
    pub meaning: String,
    /// Whether it must be set.
    pub required: bool,
}

pub(super) fn page(connector: &Connector, schema: &Value, released: &[(Version, Value)]) -> String {
    let mut text = format!(
        "<!-- Made by `cargo xtask docs` from the program; changes here are lost. -->\n\n# Settings of `{}`\n\n{}. What it does is told in \
         [its page](../connectors/{}.md).\n\nEnvironment variables go over the file (`OPENCONNECT__MESH__URL` sets `mesh.url`), `--set mesh.url=…` over \
         both. Any text may have `${{env:NAME}}`, `${{env:NAME:-default}}` and `${{file:/path}}`. Editors complete the file with \
         [its schema](../schemas/{}.schema.json).\n",
        connector.package, connector.description, connector.name, connector.name
    );
    let settings = settings(schema);
    let known: Vec<(&Version, Vec<Setting>)> = released.iter().map(|(version, schema)| (version, self::settings(schema))).collect();
    let since = |path: &str| {
        let first = known
            .iter()
            .find(|(_, settings)| settings.iter().any(|setting| setting.path == path));
        first.map_or_else(|| "next".to_owned(), |(version, _)| version.to_string())
    };
    let mut section = "";
    for setting in &settings {
        let top = setting.path.split(['.', '[']).next().unwrap_or_default();
        let alone = top == setting.path;
        if alone && setting.takes == "section" {
            continue;
        }
        if section.is_empty() || (top != section && !alone) {
            let title = if alone { String::new() } else { format!("\n## `{top}`\n") };
            let _ = write!(
                text,
                "{title}\n| setting | takes | default | meaning | since |\n|---|---|---|---|---|\n"
            );
            section = top;
        }
        let default = match &setting.default {
            Some(default) => format!("`{default}`"),
            None if setting.required => "required".to_owned(),
            None => String::new(),
        };
        let example = setting.example.as_ref().map(|example| format!(" For example `{example}`."));
        let meaning = format!("{}{}", setting.meaning, example.unwrap_or_default());
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            setting.path,
            setting.takes,
            cell(&default),
            cell(&meaning),
            since(&setting.path)
        );
    }
    text.push_str(&events(schema));
    text
}

/// The kinds of events that a source makes.
fn events(schema: &Value) -> String {
    let Some(events) = schema.get("x-events").and_then(Value::as_array) else {
        return String::new();
    };
    let mut text = "\n## Event types\n\n| type | when | data | attributes |\n|---|---|---|---|\n".to_owned();
    for event in events {
        let said = |name: &str| cell(event.get(name).and_then(Value::as_str).unwrap_or_default());
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            said("type"),
            said("when"),
            said("data"),
            said("attributes")
        );
    }
    text
}

/// Fits into a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// All settings of a schema, sections before what is in them.
pub fn settings(schema: &Value) -> Vec<Setting> {
    let mut walk = Walk {
        root: schema,
        found: Vec::new(),
    };
    walk.object(schema, "", 0);
    walk.found
}

struct Walk<'s> {
    root: &'s Value,
    found: Vec<Setting>,
}

impl Walk<'_> {
    fn object(&mut self, schema: &Value, prefix: &str, depth: usize) {
        let schema = self.follow(schema);
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let required: Vec<&str> = required.collect();
        for (name, child) in schema["properties"].as_object().into_iter().flatten() {
            let path = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            self.setting(child, path, required.contains(&name.as_str()), depth);
        }
    }

    fn setting(&mut self, schema: &Value, path: String, required: bool, depth: usize) {
        // The tag of a variant is told with its choices.
        if schema.get("const").is_some() || self.found.iter().any(|known| known.path == path) {
            return;
        }
        let resolved = self.follow(schema);
        let text = |key: &str| {
            schema
                .get(key)
                .or_else(|| resolved.get(key))
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        self.found.push(Setting {
            takes: self.takes(&resolved),
            default: schema.get("default").filter(|value| simple(value)).cloned(),
            example: schema["examples"].get(0).or_else(|| resolved["examples"].get(0)).cloned(),
            meaning: text("description").split_whitespace().collect::<Vec<_>>().join(" "),
            required,
            path: path.clone(),
        });
        if depth > 6 {
            return;
        }
        for part in self.variants(&resolved) {
            self.object(&part, &path, depth + 1);
            let inner = part.get("items").map(|items| (items, format!("{path}[]")));
            let values = part.get("additionalProperties").filter(|values| values.is_object());
            for (schema, path) in inner.into_iter().chain(values.map(|values| (values, format!("{path}.<name>")))) {
                for part in self.variants(&self.follow(schema)) {
                    self.object(&part, &path, depth + 1);
                }
            }
        }
    }

    /// The branches of a schema. Of several, none needs its settings in every configuration, and what one is for is told at its
    /// only setting.
    fn variants(&self, schema: &Value) -> Vec<Value> {
        let mut parts = self.parts(schema);
        if parts.len() > 1 {
            for part in parts.iter_mut().filter_map(Value::as_object_mut) {
                part.remove("required");
                let meaning = part.get("description").cloned();
                if let Some(Value::Object(settings)) = part.get_mut("properties")
                    && settings.len() == 1
                    && let (Some(meaning), Some(Value::Object(only))) = (meaning, settings.values_mut().next())
                {
                    only.entry("description").or_insert(meaning);
                }
            }
        }
        parts
    }

    /// What it takes, in a few words.
    fn takes(&self, schema: &Value) -> String {
        let choices: Vec<String> = self.parts(schema).iter().flat_map(|part| self.choices(part)).collect();
        if !choices.is_empty() {
            return format!("one of {}", choices.join(", "));
        }
        let mut kinds: Vec<&str> = self.parts(schema).iter().filter_map(|part| self.kind(part)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        if kinds.is_empty() {
            "anything".to_owned()
        } else {
            kinds.join(" or ")
        }
    }

    fn kind(&self, part: &Value) -> Option<&'static str> {
        let types: Vec<&str> = match &part["type"] {
            Value::String(one) => vec![one],
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        Some(match part["format"].as_str() {
            Some("human-duration") => "duration (`500ms`, `10s`, `5m`)",
            Some("byte-size") => "size (`64KiB`, `16MiB`)",
            _ if part["writeOnly"] == true => "secret text",
            _ if types.contains(&"boolean") => "`true` or `false`",
            _ if types.contains(&"integer") => "whole number",
            _ if types.contains(&"number") => "number",
            _ if types.contains(&"array") => "list",
            _ if types.contains(&"object") && part["properties"].is_object() => "section",
            _ if types.contains(&"object") => "names with values",
            _ if types.contains(&"string") => "text",
            _ => return None,
        })
    }

    fn choices(&self, part: &Value) -> Vec<String> {
        let names = part["enum"].as_array().into_iter().flatten().chain(part.get("const"));
        let tags = part["properties"]["type"].get("const");
        names
            .chain(tags)
            .filter_map(Value::as_str)
            .map(|name| format!("`{name}`"))
            .collect()
    }

    /// The branches of a schema, or itself.
    fn parts(&self, schema: &Value) -> Vec<Value> {
        match schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array) {
            Some(list) => list
                .iter()
                .map(|part| self.follow(part))
                .filter(|part| part["type"] != "null")
                .flat_map(|part| self.parts(&part))
                .collect(),
            None => vec![schema.clone()],
        }
    }

    /// References are followed; what stands beside them counts more.
    fn follow(&self, schema: &Value) -> Value {
        let Some(target) = schema["$ref"].as_str().and_then(|to| self.root.pointer(to.strip_prefix('#')?)) else {
            return schema.clone();
        };
        let mut merged: Map<String, Value> = self.follow(target).as_object().cloned().unwrap_or_default();
        let beside = schema.as_object().into_iter().flatten().filter(|(key, _)| *key != "$ref");
        merged.extend(beside.map(|(key, value)| (key.clone(), value.clone())));
        Value::Object(merged)
    }
}

/// Fits into a line.
fn simple(value: &Value) -> bool {
    match value {
        Value::Null | Value::Object(_) => false,
        Value::Array(list) => list.iter().all(simple),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_variants_and_lists_are_looked_into() {
        let schema = json!({
            "properties": { "sink": { "$ref": "#/$defs/Sink", "description": "The sink." } },
            "required": ["sink"],
            "$defs": {
                "Sink": { "type": "object", "properties": {
                    "wait": { "type": "string", "format": "human-duration", "description": "How long.", "default": "10s" },
                    "auth": { "oneOf": [
                        { "type": "object", "properties": { "type": { "const": "none" } } },
                        { "type": "object", "properties": { "type": { "const": "bearer" }, "token": { "type": "string", "writeOnly": true } }, "required": ["token"] },
                    ] },
                    "rules": { "type": "array", "items": { "type": "object", "properties": { "name": { "type": "string" } } } },
                } },
            },
        });
        let all = settings(&schema);
        let find = |path: &str| all.iter().find(|setting| setting.path == path).cloned();
        assert!(find("sink").is_some_and(|sink| sink.required && sink.takes == "section" && sink.meaning == "The sink."));
        assert!(find("sink.wait").is_some_and(|wait| wait.takes.starts_with("duration") && wait.default == Some(json!("10s"))));
        assert!(find("sink.auth").is_some_and(|auth| auth.takes == "one of `none`, `bearer`"));
        assert!(find("sink.auth.token").is_some_and(|token| token.takes == "secret text" && !token.required));
        assert!(find("sink.rules[].name").is_some());
    }
}
