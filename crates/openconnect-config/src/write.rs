//! A configuration as YAML.

use serde_json::Value;

/// Sections indented, everything else as JSON, which YAML includes.
pub fn write_yaml(value: &Value) -> String {
    let mut out = String::new();
    section(value, 0, &mut out);
    out
}

fn section(value: &Value, depth: usize, out: &mut String) {
    let Value::Object(map) = value else { return };
    for (key, value) in map {
        let indent = "  ".repeat(depth);
        let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let key = if plain {
            key.clone()
        } else {
            Value::String(key.clone()).to_string()
        };
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push_str(&format!("{indent}{key}:\n"));
                section(value, depth + 1, out);
            }
            other => out.push_str(&format!("{indent}{key}: {other}\n")),
        }
    }
}
