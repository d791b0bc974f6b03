//! A configuration as its settings by their dotted paths.

use std::collections::BTreeMap;

use serde_json::Value;

/// Sections taken apart; lists and scalars as they are.
pub fn dotted(value: &Value) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    section(value, "", &mut out);
    out
}

fn section(value: &Value, prefix: &str, out: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                section(value, &key, out);
            }
        }
        other => {
            out.insert(prefix.to_owned(), other.clone());
        }
    }
}
