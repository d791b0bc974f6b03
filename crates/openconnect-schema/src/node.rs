//! A place in a schema.

use std::collections::BTreeMap;

use serde_json::Value;

/// References that are followed from one place: one that leads to itself would never end.
const MAX_REFERENCES: usize = 16;

/// A place in a schema. References are followed, and so is a choice of one schema and null (an optional setting); what stands beside
/// a reference goes before what it leads to.
#[derive(Debug, Clone)]
pub struct Node<'s> {
    root: &'s Value,
    /// The schema as it is written, then what it refers to.
    layers: Vec<&'s Value>,
    /// A null was among the choices.
    optional: bool,
}

impl<'s> Node<'s> {
    /// The whole schema.
    pub fn root(root: &'s Value) -> Self {
        Self::new(root, root)
    }

    fn new(root: &'s Value, schema: &'s Value) -> Self {
        let mut node = Self {
            root,
            layers: Vec::new(),
            optional: false,
        };
        let mut next = Some(schema);
        while let Some(schema) = next
            && node.layers.len() < MAX_REFERENCES
        {
            node.layers.push(schema);
            next = node.leads_to(schema);
        }
        node
    }

    /// What a reference or the only choice beside null leads to.
    fn leads_to(&mut self, schema: &'s Value) -> Option<&'s Value> {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            return self.root.pointer(reference.strip_prefix('#')?);
        }
        let list = choices_of(schema)?;
        let [only] = list.iter().filter(|choice| !is_null(choice)).collect::<Vec<_>>()[..] else {
            return None;
        };
        self.optional |= list.len() > 1;
        Some(only)
    }

    fn below(&self, schema: &'s Value) -> Self {
        Self::new(self.root, schema)
    }

    /// The value of a keyword.
    pub fn get(&self, keyword: &str) -> Option<&'s Value> {
        self.layers.iter().find_map(|layer| layer.get(keyword))
    }

    /// The text of a keyword.
    pub fn text(&self, keyword: &str) -> Option<&'s str> {
        self.get(keyword).and_then(Value::as_str)
    }

    /// The types that it names.
    pub fn types(&self) -> Vec<&'s str> {
        match self.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// May the value be null?
    pub fn accepts_null(&self) -> bool {
        if self.optional {
            return true;
        }
        let types = self.types();
        if !types.is_empty() {
            return types.contains(&"null");
        }
        match self.layers.iter().find_map(|layer| choices_of(layer)) {
            Some(list) => list.iter().any(|choice| self.below(choice).accepts_null()),
            None => ["const", "enum", "allOf"].iter().all(|keyword| self.get(keyword).is_none()),
        }
    }

    /// Is the value not to be shown?
    pub fn is_secret(&self) -> bool {
        self.layers.iter().any(|layer| layer.get("writeOnly") == Some(&Value::Bool(true)))
    }

    /// Is it an object with keys of its own, always the same ones?
    pub fn is_section(&self) -> bool {
        self.types().contains(&"object") && self.get("properties").is_some_and(Value::is_object) && self.variants().is_empty()
    }

    /// What holds without the setting; null says nothing.
    pub fn default(&self) -> Option<&'s Value> {
        self.get("default").filter(|value| !value.is_null())
    }

    /// A value that a user could keep.
    pub fn example(&self) -> Option<&'s Value> {
        self.get("examples")?.get(0)
    }

    /// The values that it takes, without those of its variants.
    pub fn constants(&self) -> Vec<&'s Value> {
        match (self.get("const"), self.get("enum").and_then(Value::as_array)) {
            (Some(one), _) => vec![one],
            (None, Some(list)) => list.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Names of the required keys.
    pub fn required(&self) -> Vec<&'s str> {
        let lists = self.layers.iter().filter_map(|layer| layer.get("required")?.as_array());
        lists.flatten().filter_map(Value::as_str).collect()
    }

    /// The keys of a section, in order of their names.
    pub fn properties(&self) -> BTreeMap<&'s str, Self> {
        let mut all = BTreeMap::new();
        for (name, schema) in self
            .layers
            .iter()
            .filter_map(|layer| layer.get("properties")?.as_object())
            .flatten()
        {
            all.entry(name.as_str()).or_insert_with(|| self.below(schema));
        }
        all
    }

    /// One key of a section.
    pub fn property(&self, name: &str) -> Option<Self> {
        let found = self.layers.iter().find_map(|layer| layer.get("properties")?.get(name));
        found.map(|schema| self.below(schema))
    }

    /// What it may be, of several, without null; empty when it is always the same.
    pub fn variants(&self) -> Vec<Self> {
        let several = |layer: &&'s Value| {
            let choices: Vec<&Value> = choices_of(layer)?.iter().filter(|choice| !is_null(choice)).collect();
            (choices.len() > 1).then_some(choices)
        };
        let choices = self.layers.iter().find_map(several).unwrap_or_default();
        choices.into_iter().map(|choice| self.below(choice)).collect()
    }

    /// Its variants and theirs; itself where it has none.
    pub fn shapes(&self) -> Vec<Self> {
        let variants = self.variants();
        if variants.is_empty() {
            return vec![self.clone()];
        }
        variants.iter().flat_map(Self::shapes).collect()
    }

    /// Schemas that all hold beside this one.
    pub fn parts(&self) -> Vec<Self> {
        let list = self.get("allOf").and_then(Value::as_array).into_iter().flatten();
        list.map(|schema| self.below(schema)).collect()
    }

    /// Each element of a list.
    pub fn items(&self) -> Option<Self> {
        self.get("items").map(|schema| self.below(schema))
    }

    /// Each value of a map.
    pub fn values(&self) -> Option<Self> {
        let schema = self.get("additionalProperties").filter(|schema| schema.is_object());
        schema.map(|schema| self.below(schema))
    }

    /// Are there no keys but those that it names?
    pub fn is_closed(&self) -> bool {
        match self.get("additionalProperties") {
            Some(Value::Bool(more)) => !more,
            Some(_) => false,
            // Variants beside the keys have keys of their own.
            None => !self.properties().is_empty() && self.variants().is_empty(),
        }
    }

    /// What `key` leads to, through any variant, list or map; with the key as the schema writes it.
    pub fn child(&self, key: &str) -> Option<(String, Self)> {
        let properties = self.properties();
        if let Some((name, child)) = properties.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(key)) {
            return Some((name.to_owned(), child));
        }
        if let Some(found) = self.variants().iter().find_map(|variant| variant.child(key)) {
            return Some(found);
        }
        let item = self.items().filter(|_| key.parse::<usize>().is_ok());
        item.or_else(|| self.values()).map(|child| (key.to_owned(), child))
    }

    /// What a change of the setting at `path` does to events: what the setting says, or else the nearest section around it.
    pub fn effect<'k>(&self, path: impl IntoIterator<Item = &'k str>) -> Option<&'s str> {
        let mut at = self.clone();
        let mut effect = None;
        for key in path {
            let Some((_, child)) = at.child(key) else { break };
            at = child;
            effect = at.text("x-effect").or(effect);
        }
        effect
    }
}

fn choices_of(schema: &Value) -> Option<&Vec<Value>> {
    schema.get("oneOf").or_else(|| schema.get("anyOf"))?.as_array()
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_stands_beside_a_reference_goes_first() {
        let root = json!({
            "properties": { "a": { "$ref": "#/$defs/A", "description": "own", "properties": { "more": {} }, "required": ["more"] } },
            "$defs": { "A": { "type": "object", "description": "shared", "properties": { "x": {}, "more": { "const": 1 } }, "required": ["x"] } },
        });
        let a = Node::root(&root).property("a").unwrap();
        assert_eq!(a.text("description"), Some("own"));
        assert_eq!(a.required(), ["more", "x"]);
        assert_eq!(a.properties().keys().copied().collect::<Vec<_>>(), ["more", "x"]);
        assert!(a.property("more").unwrap().constants().is_empty() && a.is_section() && !a.accepts_null());
    }

    #[test]
    fn an_optional_section_is_a_section_that_takes_null() {
        let root = json!({
            "properties": {
                "tls": { "anyOf": [{ "$ref": "#/$defs/Tls" }, { "type": "null" }], "description": "own" },
                "auth": { "anyOf": [{ "$ref": "#/$defs/Auth" }, { "type": "null" }] },
            },
            "$defs": {
                "Tls": { "type": "object", "properties": { "file": { "type": ["string", "null"] } } },
                "Auth": { "oneOf": [{ "const": "none" }, { "properties": { "token": { "writeOnly": true } } }] },
            },
        });
        let tls = Node::root(&root).property("tls").unwrap();
        assert!(tls.is_section() && tls.accepts_null() && tls.property("file").unwrap().accepts_null());
        let auth = Node::root(&root).property("auth").unwrap();
        assert!(auth.accepts_null() && auth.variants().len() == 2 && !auth.is_section());
        assert!(
            auth.child("TOKEN")
                .is_some_and(|(name, token)| name == "token" && token.is_secret())
        );
    }

    #[test]
    fn a_reference_to_itself_ends() {
        let root = json!({ "$defs": { "A": { "$ref": "#/$defs/A" } }, "$ref": "#/$defs/A" });
        assert!(Node::root(&root).get("type").is_none());
        let tree = json!({ "properties": { "next": { "$ref": "#" } } });
        assert!(Node::root(&tree).effect(["next"; 100]).is_none());
    }

    #[test]
    fn an_effect_is_the_nearest_one_through_lists_maps_and_variants() {
        let root = json!({ "properties": { "sink": { "properties": {
            "auth": { "x-effect": "all of it", "oneOf": [
                { "properties": { "token": {} } },
                { "properties": { "key": { "x-effect": "the key" } } },
            ] },
            "rules": { "items": { "properties": { "name": { "x-effect": "the name" } } } },
            "headers": { "additionalProperties": { "type": "string" }, "x-effect": "headers" },
            "silent": {},
        } } } });
        let root = Node::root(&root);
        for (path, effect) in [
            ("sink.auth.token", Some("all of it")),
            ("sink.auth.key", Some("the key")),
            ("sink.rules.3.name", Some("the name")),
            ("sink.headers.x.y", Some("headers")),
            ("sink.silent", None),
        ] {
            assert_eq!(root.effect(path.split('.')), effect, "{path}");
        }
    }
}
