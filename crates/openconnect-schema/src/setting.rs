//! The walk over every setting.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::node::Node;

/// Sections in sections that are looked into: a schema that holds itself would never end.
const MAX_DEPTH: usize = 7;

/// One setting.
#[derive(Debug, Clone)]
pub struct Setting<'s> {
    /// `sink.auth.token`; `[]` stands for each element of a list, `<name>` for any key.
    pub path: String,
    /// What it takes.
    pub node: Node<'s>,
    /// Must it be set, where the section around it is?
    pub required: bool,
    /// Is it there in every configuration: no section around it may be absent, and none is one of several variants, in a list or a
    /// map?
    pub always: bool,
    /// What its variant is for, where it is the only setting of one and says nothing itself.
    variant: Option<&'s str>,
    effect: Option<&'s str>,
}

impl<'s> Setting<'s> {
    /// What it does, on one line.
    pub fn meaning(&self) -> String {
        let text = self.node.text("description").or(self.variant).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// What a change of it does to events: what it says, or else the nearest section around it.
    pub fn effect(&self) -> Option<&'s str> {
        self.effect
    }
}

/// All settings of a schema, sections before what is in them.
pub fn settings(schema: &Value) -> Vec<Setting<'_>> {
    let mut walk = Walk::default();
    walk.section(&Node::root(schema), &Around::default());
    walk.found
}

#[derive(Default)]
struct Walk<'s> {
    found: Vec<Setting<'s>>,
    paths: BTreeSet<String>,
}

/// What is known of a section before what is in it.
#[derive(Clone)]
struct Around<'s> {
    path: String,
    depth: usize,
    always: bool,
    /// One of several variants: none of its settings is needed in every configuration.
    variant: bool,
    effect: Option<&'s str>,
}

impl Default for Around<'_> {
    fn default() -> Self {
        Self {
            path: String::new(),
            depth: 0,
            always: true,
            variant: false,
            effect: None,
        }
    }
}

impl<'s> Walk<'s> {
    fn section(&mut self, section: &Node<'s>, around: &Around<'s>) {
        let (properties, required) = (section.properties(), section.required());
        let variant = section.text("description").filter(|_| around.variant && properties.len() == 1);
        for (name, node) in properties {
            let path = if around.path.is_empty() {
                name.to_owned()
            } else {
                format!("{}.{name}", around.path)
            };
            // The tag of a variant is one of its choices.
            if node.get("const").is_some() || !self.paths.insert(path.clone()) {
                continue;
            }
            let effect = node.text("x-effect").or(around.effect);
            self.found.push(Setting {
                path: path.clone(),
                node: node.clone(),
                required: required.contains(&name) && !around.variant,
                always: around.always,
                variant,
                effect,
            });
            let always = around.always && node.is_section() && !node.accepts_null();
            self.inside(
                &node,
                &Around {
                    path,
                    always,
                    effect,
                    ..around.clone()
                },
            );
        }
    }

    /// What is in a setting: keys, elements, values, of any of its variants.
    fn inside(&mut self, node: &Node<'s>, around: &Around<'s>) {
        if around.depth == MAX_DEPTH {
            return;
        }
        let shapes = node.shapes();
        let below = Around {
            depth: around.depth + 1,
            variant: shapes.len() > 1,
            ..around.clone()
        };
        for shape in &shapes {
            self.section(shape, &below);
            let at = |path: String| Around { path, ..below.clone() };
            if let Some(items) = shape.items() {
                self.inside(&items, &at(format!("{}[]", around.path)));
            }
            if let Some(values) = shape.values() {
                self.inside(&values, &at(format!("{}.<name>", around.path)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn references_variants_lists_and_maps_are_looked_into() {
        let schema = json!({
            "properties": { "sink": { "$ref": "#/$defs/Sink", "description": "The sink." } },
            "required": ["sink"],
            "$defs": { "Sink": { "type": "object", "required": ["url"], "properties": {
                "url": { "type": "string", "description": "Where\n  to.", "x-effect": "elsewhere" },
                "auth": { "x-effect": "who", "oneOf": [
                    { "properties": { "type": { "const": "none" } } },
                    { "properties": { "type": { "const": "bearer" }, "token": { "type": "string" } }, "required": ["type", "token"] },
                ] },
                "step": { "oneOf": [
                    { "description": "Leaves out.", "properties": { "drop": {} }, "required": ["drop"] },
                    { "description": "Renames.", "properties": { "rename": { "description": "Old to new." } }, "required": ["rename"] },
                ] },
                "tls": { "anyOf": [{ "type": "object", "properties": { "file": {} }, "required": ["file"] }, { "type": "null" }] },
                "rules": { "type": "array", "items": { "type": "object", "properties": { "name": { "type": "string" } } } },
                "shops": { "type": "object", "additionalProperties": { "properties": { "deep": { "items": { "items": { "properties": { "x": {} } } } } } } },
            } } },
        });
        let all = settings(&schema);
        let find = |path: &str| all.iter().find(|setting| setting.path == path).unwrap();
        assert!(find("sink").required && find("sink").meaning() == "The sink." && find("sink").node.is_section());
        let url = find("sink.url");
        assert_eq!(
            (url.required, url.always, url.meaning().as_str(), url.effect()),
            (true, true, "Where to.", Some("elsewhere"))
        );
        let token = find("sink.auth.token");
        assert_eq!((token.required, token.always, token.effect()), (false, false, Some("who")));
        assert_eq!(
            [find("sink.step.drop").meaning(), find("sink.step.rename").meaning()],
            ["Leaves out.", "Old to new."]
        );
        assert!(find("sink.tls.file").required && !find("sink.tls.file").always);
        for path in ["sink.rules[].name", "sink.shops.<name>.deep", "sink.shops.<name>.deep[][].x"] {
            assert!(!find(path).always && find(path).effect().is_none(), "{path}");
        }
        assert!(all.iter().all(|setting| !setting.path.ends_with(".type")));
    }

    #[test]
    fn a_schema_that_holds_itself_ends() {
        let schema = json!({ "properties": { "next": { "$ref": "#" }, "list": { "items": { "$ref": "#" } } } });
        assert!(
            settings(&schema)
                .iter()
                .any(|setting| setting.path == "next.next[].next" || setting.path == "next.list[].next")
        );
    }
}
