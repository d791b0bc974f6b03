//! A configuration file made from the schema: every setting with its explanation, the required ones filled in.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::schema::{branches, follow, required, types};

/// The order of the sections in the file; others follow.
const ORDER: [&str; 10] = [
    "name",
    "mesh",
    "source",
    "sink",
    "transforms",
    "delivery",
    "dead_letter",
    "state",
    "limits",
    "admin",
];
const WIDTH: usize = 110;

/// The file: what is required is there with an example, all else is a comment with its default or an example. `root` is the schema of
/// the settings of `openconnect-<program>`. Its extensions: `x-in-example` marks an optional setting that most configurations have;
/// `x-instead-of` one that excludes what it names, and so is shown but can't be uncommented with the others.
pub fn example(root: &Value, program: &str) -> String {
    let mut writer = Writer { root, text: String::new() };
    let _ = writeln!(
        writer.text,
        "# Configuration of openconnect-{program}. What is commented out is optional."
    );
    writer.object(root, 0, false);
    writer.text
}

/// The example with every setting in it: no line of a setting is a comment any more.
pub(crate) fn in_full(example: &str) -> String {
    let uncommented = |line: &str| match line.strip_prefix('#') {
        // An explanation: one space, then words. A setting is indented by none or by two.
        Some(rest) if !rest.starts_with(' ') || rest.starts_with("  ") => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    example.lines().map(uncommented).collect()
}

struct Writer<'a> {
    root: &'a Value,
    text: String,
}

impl Writer<'_> {
    /// The keys of a section; `off` when all of it is commented out.
    fn object(&mut self, schema: &Value, depth: usize, off: bool) {
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        // What is needed mostly, though not always, stands there too: the schema marks it with `x-in-example`.
        let marked = properties.iter().filter(|(_, schema)| schema.get("x-in-example").is_some());
        let needed: Vec<&str> = required(schema).into_iter().chain(marked.map(|(key, _)| key.as_str())).collect();
        let mut keys: Vec<&String> = properties.keys().collect();
        keys.sort_by_key(|key| {
            let place = if depth == 0 {
                ORDER.iter().position(|name| name == key).unwrap_or(ORDER.len())
            } else {
                0
            };
            (place, !needed.contains(&key.as_str()), (*key).clone())
        });
        for key in keys {
            if let Some(child) = properties.get(key) {
                if depth == 0 {
                    self.text.push('\n');
                }
                self.entry(key, child, depth, off || !needed.contains(&key.as_str()));
            }
        }
    }

    fn entry(&mut self, key: &str, schema: &Value, depth: usize, off: bool) {
        let root = self.root;
        let mut resolved = follow(schema, root);
        let outer = schema
            .get("description")
            .or_else(|| resolved.get("description"))
            .and_then(Value::as_str)
            .map(str::to_owned);
        if let Some(list) = branches(&resolved)
            && let [only] = list.as_slice()
        {
            resolved = std::borrow::Cow::Owned(follow(only, root).into_owned());
        }
        let indent = " ".repeat(depth * 2);
        let lead = if off { "#" } else { "" };
        if let Some(text) = outer {
            self.comment(&text, &indent);
        }
        let choices = self.choices(&resolved);
        if !choices.is_empty() && !types(&resolved).contains(&"object") {
            self.comment(&format!("One of: {}.", choices.join(", ")), &indent);
        }
        if let Some(other) = schema.get("x-instead-of").and_then(Value::as_str) {
            let value = self.sample(key, schema, &resolved);
            let _ = writeln!(self.text, "{indent}# Instead of {other}: `{key}: {value}`");
            return;
        }
        let section = types(&resolved).contains(&"object") && resolved.get("properties").is_some_and(|p| p.is_object());
        if section && branches(&resolved).is_none() {
            let _ = writeln!(self.text, "{lead}{indent}{key}:");
            let resolved = resolved.into_owned();
            self.object(&resolved, depth + 1, off);
        } else {
            let value = self.sample(key, schema, &resolved);
            let _ = writeln!(self.text, "{lead}{indent}{key}: {value}");
        }
    }

    fn comment(&mut self, text: &str, indent: &str) {
        for paragraph in text.lines().filter(|line| !line.trim().is_empty()) {
            let mut line = String::new();
            for word in paragraph.split_whitespace() {
                if !line.is_empty() && line.len() + word.len() + indent.len() > WIDTH {
                    let _ = writeln!(self.text, "{indent}# {line}");
                    line.clear();
                }
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
            let _ = writeln!(self.text, "{indent}# {line}");
        }
    }

    /// The names that a setting takes.
    fn choices(&self, schema: &Value) -> Vec<String> {
        let names = |schema: &Value| -> Vec<String> {
            let list = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
            list.chain(schema.get("const"))
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        };
        match branches(schema) {
            Some(list) => list.into_iter().flat_map(|branch| names(&follow(branch, self.root))).collect(),
            None => names(schema),
        }
    }

    /// A value that the setting takes, as YAML on one line.
    fn sample(&self, key: &str, schema: &Value, resolved: &Value) -> String {
        self.value(key, schema, resolved, 0).to_string()
    }

    fn value(&self, key: &str, schema: &Value, resolved: &Value, depth: usize) -> Value {
        let example = |schema: &Value| {
            schema
                .get("examples")
                .and_then(Value::as_array)
                .and_then(|list| list.first().cloned())
        };
        let default = |schema: &Value| schema.get("default").filter(|value| !value.is_null()).cloned();
        let marked = schema.get("x-in-example").and_then(|_| example(schema));
        let given = marked
            .or_else(|| default(schema))
            .or_else(|| example(schema))
            .or_else(|| default(resolved))
            .or_else(|| example(resolved));
        if let Some(value) = given {
            return value;
        }
        if let Some(name) = self.choices(resolved).first() {
            return Value::String(name.clone());
        }
        if depth < 4
            && let Some(branch) = branches(resolved).and_then(|list| list.first().copied())
        {
            let inner = follow(branch, self.root);
            return self.value(key, branch, &inner, depth + 1);
        }
        let secret = [schema, resolved].iter().any(|s| s.get("writeOnly") == Some(&Value::Bool(true)));
        match types(resolved).first().copied() {
            Some("string") if secret => Value::String(format!("${{env:{}:-change-me}}", key.to_ascii_uppercase())),
            Some("string") => Value::String("example".to_owned()),
            Some("integer" | "number") => Value::from(resolved.get("minimum").and_then(Value::as_u64).unwrap_or(0).max(1)),
            Some("boolean") => Value::Bool(false),
            Some("array") => match resolved.get("items").filter(|_| depth < 4) {
                Some(items) => Value::Array(vec![self.value(key, items, &follow(items, self.root), depth + 1)]),
                None => Value::Array(Vec::new()),
            },
            _ => self.object_value(resolved, depth),
        }
    }

    fn object_value(&self, resolved: &Value, depth: usize) -> Value {
        let mut map = Map::new();
        for key in required(resolved) {
            if let Some(child) = resolved.get("properties").and_then(|properties| properties.get(key))
                && depth < 4
            {
                let value = match child.get("const") {
                    Some(constant) => constant.clone(),
                    None => self.value(key, child, &follow(child, self.root), depth + 1),
                };
                map.insert(key.to_owned(), value);
            }
        }
        Value::Object(map)
    }
}
