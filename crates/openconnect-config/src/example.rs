//! A configuration file made from the schema: every setting with its explanation, the required ones filled in.

use std::fmt::Write;

use openconnect_schema::Node;
use serde_json::{Map, Value};

/// The order of the sections in the file; others follow.
const ORDER: [&str; 11] = [
    "name",
    "mesh",
    "input",
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
/// Sections, lists and variants in one value.
const MAX_DEPTH: usize = 4;

/// The file: what is required is there with an example, all else is a comment with its default or an example. `root` is the schema of
/// the settings of `openconnect-<program>`. Its extensions: `x-in-example` marks an optional setting that most configurations have;
/// `x-instead-of` one that excludes what it names, and so is shown but can't be uncommented with the others.
pub fn example(root: &Value, program: &str) -> String {
    let mut writer = Writer { text: String::new() };
    let _ = writeln!(
        writer.text,
        "# Configuration of openconnect-{program}. What is commented out is optional."
    );
    writer.object(&Node::root(root), 0, false);
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

struct Writer {
    text: String,
}

impl Writer {
    /// The keys of a section; `off` when all of it is commented out.
    fn object(&mut self, section: &Node<'_>, depth: usize, off: bool) {
        let required = section.required();
        // What is needed mostly, though not always, stands there too: the schema marks it with `x-in-example`.
        let needed = |key: &str, node: &Node<'_>| required.contains(&key) || node.get("x-in-example").is_some();
        let mut settings: Vec<(&str, Node<'_>)> = section.properties().into_iter().collect();
        settings.sort_by_key(|(key, node)| {
            let place = if depth == 0 {
                ORDER.iter().position(|name| name == key).unwrap_or(ORDER.len())
            } else {
                0
            };
            (place, !needed(key, node), *key)
        });
        for (key, node) in settings {
            if depth == 0 {
                self.text.push('\n');
            }
            self.entry(key, &node, depth, off || !needed(key, &node));
        }
    }

    fn entry(&mut self, key: &str, node: &Node<'_>, depth: usize, off: bool) {
        let indent = " ".repeat(depth * 2);
        let lead = if off { "#" } else { "" };
        if let Some(text) = node.text("description") {
            self.comment(text, &indent);
        }
        let names = names(node);
        if !names.is_empty() && !node.types().contains(&"object") {
            self.comment(&format!("One of: {}.", names.join(", ")), &indent);
        }
        let _ = if let Some(other) = node.text("x-instead-of") {
            writeln!(self.text, "{indent}# Instead of {other}: `{key}: {}`", value(key, node, 0))
        } else if node.is_section() {
            let written = writeln!(self.text, "{lead}{indent}{key}:");
            self.object(node, depth + 1, off);
            written
        } else {
            writeln!(self.text, "{lead}{indent}{key}: {}", value(key, node, 0))
        };
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
}

/// The names that a setting takes.
fn names<'s>(node: &Node<'s>) -> Vec<&'s str> {
    let shapes = node.shapes();
    shapes.iter().flat_map(Node::constants).filter_map(Value::as_str).collect()
}

/// A value that the setting takes.
fn value(key: &str, node: &Node<'_>, depth: usize) -> Value {
    let marked = node.get("x-in-example").and_then(|_| node.example());
    if let Some(given) = marked.or_else(|| node.default()).or_else(|| node.example()) {
        return given.clone();
    }
    if let Some(name) = names(node).first() {
        return Value::from(*name);
    }
    let deeper = depth < MAX_DEPTH;
    if let Some(variant) = node.variants().first().filter(|_| deeper) {
        return value(key, variant, depth + 1);
    }
    match node.types().first().copied() {
        Some("string") if node.is_secret() => Value::String(format!("${{env:{}:-change-me}}", key.to_ascii_uppercase())),
        Some("string") => Value::String("example".to_owned()),
        Some("integer" | "number") => Value::from(node.get("minimum").and_then(Value::as_u64).unwrap_or(0).max(1)),
        Some("boolean") => Value::Bool(false),
        Some("array") => node.items().filter(|_| deeper).map_or_else(
            || Value::Array(Vec::new()),
            |items| Value::Array(vec![value(key, &items, depth + 1)]),
        ),
        _ => object(node, depth),
    }
}

/// The required keys of a section, each with a value.
fn object(node: &Node<'_>, depth: usize) -> Value {
    let properties = node.properties();
    let required = node.required().into_iter().filter(|_| depth < MAX_DEPTH);
    let with_value = required.filter_map(|key| {
        let child = properties.get(key)?;
        let constant = child.get("const").cloned();
        Some((key.to_owned(), constant.unwrap_or_else(|| value(key, child, depth + 1))))
    });
    Value::Object(with_value.collect::<Map<_, _>>())
}
