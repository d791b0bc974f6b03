//! Every setting of a connector as a table, from its JSON Schema.

use std::fmt::Write as _;

use openconnect_schema::{Node, Setting, settings};
use semver::Version;
use serde_json::Value;

use crate::connectors::Connector;

pub(super) fn page(connector: &Connector, schema: &Value, released: &[(Version, Value)]) -> String {
    let mut text = format!(
        "<!-- Made by `cargo xtask docs` from the program; changes here are lost. -->\n\n# Settings of `{}`\n\n{}. What it does is told in \
         [its page](../connectors/{}.md).\n\nEnvironment variables go over the file (`OPENCONNECT__MESH__URL` sets `mesh.url`), `--set mesh.url=…` over \
         both. Any text may have `${{env:NAME}}`, `${{env:NAME:-default}}` and `${{file:/path}}`. Editors complete the file with \
         [its schema](../schemas/{}.schema.json).\n",
        connector.package, connector.description, connector.name, connector.name
    );
    let settings = settings(schema);
    let known: Vec<(&Version, Vec<Setting<'_>>)> = released.iter().map(|(version, schema)| (version, self::settings(schema))).collect();
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
        if alone && setting.node.is_section() {
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
        let default = match default(&setting.node) {
            Some(default) => format!("`{default}`"),
            None if setting.required => "required".to_owned(),
            None => String::new(),
        };
        let example = setting.node.example().map(|example| format!(" For example `{example}`."));
        let meaning = format!("{}{}", setting.meaning(), example.unwrap_or_default());
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            setting.path,
            takes(&setting.node),
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

/// What a setting takes, in a few words.
pub fn takes(node: &Node<'_>) -> String {
    let shapes = node.shapes();
    let choices: Vec<String> = shapes.iter().flat_map(choices).collect();
    if !choices.is_empty() {
        return format!("one of {}", choices.join(", "));
    }
    let mut kinds: Vec<&str> = shapes.iter().filter_map(kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.is_empty() {
        "anything".to_owned()
    } else {
        kinds.join(" or ")
    }
}

/// What holds without a setting, where a line has room for it.
pub fn default<'s>(node: &Node<'s>) -> Option<&'s Value> {
    node.default().filter(|value| simple(value))
}

fn kind(shape: &Node<'_>) -> Option<&'static str> {
    let types = shape.types();
    Some(match shape.text("format") {
        Some("human-duration") => "duration (`500ms`, `10s`, `5m`)",
        Some("byte-size") => "size (`64KiB`, `16MiB`)",
        _ if shape.is_secret() => "secret text",
        _ if types.contains(&"boolean") => "`true` or `false`",
        _ if types.contains(&"integer") => "whole number",
        _ if types.contains(&"number") => "number",
        _ if types.contains(&"array") => "list",
        _ if shape.is_section() => "section",
        _ if types.contains(&"object") => "names with values",
        _ if types.contains(&"string") => "text",
        _ => return None,
    })
}

fn choices(shape: &Node<'_>) -> Vec<String> {
    let tag = shape.property("type").and_then(|tag| tag.get("const"));
    let names = shape.constants().into_iter().chain(tag);
    names.filter_map(Value::as_str).map(|name| format!("`{name}`")).collect()
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
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_setting_takes_is_said_in_words() {
        let schema = json!({ "properties": {
            "wait": { "type": "string", "format": "human-duration" },
            "auth": { "oneOf": [
                { "type": "object", "properties": { "type": { "const": "none" } } },
                { "type": "object", "properties": { "type": { "const": "bearer" }, "token": { "type": "string", "writeOnly": true } } },
            ] },
            "rate": { "anyOf": [{ "type": "integer" }, { "type": "array" }, { "type": "null" }] },
            "maybe": { "type": ["boolean", "null"] },
            "section": { "type": "object", "properties": { "a": {} } },
            "map": { "type": "object", "additionalProperties": true },
            "any": {},
        } });
        let all = settings(&schema);
        let said = |path: &str| takes(&all.iter().find(|setting| setting.path == path).unwrap().node);
        for (path, words) in [
            ("wait", "duration (`500ms`, `10s`, `5m`)"),
            ("auth", "one of `none`, `bearer`"),
            ("auth.token", "secret text"),
            ("rate", "list or whole number"),
            ("maybe", "`true` or `false`"),
            ("section", "section"),
            ("map", "names with values"),
            ("any", "anything"),
        ] {
            assert_eq!(said(path), words, "{path}");
        }
    }
}
