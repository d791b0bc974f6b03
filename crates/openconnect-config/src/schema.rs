//! The JSON Schema of a program's settings, and how to look into it.

use std::borrow::Cow;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The schema of `T` with a required section `key` of type `C` in it.
pub fn schema_with<T: JsonSchema, C: JsonSchema>(key: &str) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let own = generator.subschema_for::<C>();
    let mut root = generator.root_schema_for::<T>().to_value();
    // Also what only the section refers to.
    let definitions = generator.take_definitions(true);
    if let Value::Object(root) = &mut root {
        root.insert("$defs".to_owned(), Value::Object(definitions));
        if let Some(Value::Object(properties)) = root.get_mut("properties") {
            properties.insert(key.to_owned(), own.to_value());
        }
        if let Some(Value::Array(required)) = root.get_mut("required") {
            required.push(json!(key));
        }
    }
    root
}

/// The schema of a program's settings.
pub fn schema<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// The schema with its references followed; keywords beside a reference are merged with what it refers to.
pub(crate) fn follow<'s>(schema: &'s Value, root: &'s Value) -> Cow<'s, Value> {
    let mut current = Cow::Borrowed(schema);
    // A reference to itself would never end.
    for _ in 0..16 {
        let Some(reference) = current.get("$ref").and_then(Value::as_str) else {
            break;
        };
        let Some(target) = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) else {
            break;
        };
        let beside = current.as_object().map_or(0, Map::len);
        current = if beside == 1 {
            Cow::Borrowed(target)
        } else {
            Cow::Owned(merge(&current, target))
        };
    }
    current
}

fn merge(outer: &Value, target: &Value) -> Value {
    let mut merged = target.as_object().cloned().unwrap_or_default();
    for (key, value) in outer.as_object().into_iter().flatten() {
        match (key.as_str(), merged.get_mut(key), value) {
            ("$ref", ..) => {}
            ("properties", Some(Value::Object(known)), Value::Object(more)) => {
                known.extend(more.iter().map(|(k, v)| (k.clone(), v.clone())));
            }
            ("required", Some(Value::Array(known)), Value::Array(more)) => known.extend(more.iter().cloned()),
            _ => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    // Keep following when the target is itself a reference.
    if let Some(reference) = target.get("$ref") {
        merged.insert("$ref".to_owned(), reference.clone());
    }
    Value::Object(merged)
}

/// Is this a schema of null alone?
pub(crate) fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

/// The branches of `oneOf` or `anyOf`, without null.
pub(crate) fn branches(schema: &Value) -> Option<Vec<&Value>> {
    let list = schema.get("oneOf").or_else(|| schema.get("anyOf"))?.as_array()?;
    Some(list.iter().filter(|branch| !is_null(branch)).collect())
}

/// The schema of what `key` leads to, through any branch.
pub(crate) fn child<'s>(schema: &'s Value, key: &str, root: &'s Value) -> Option<(String, Value)> {
    let schema = follow(schema, root);
    if let Some(properties) = schema.get("properties").and_then(Value::as_object)
        && let Some((name, child)) = properties.iter().find(|(name, _)| name.eq_ignore_ascii_case(key))
    {
        return Some((name.clone(), child.clone()));
    }
    if let Some(list) = branches(&schema)
        && let Some(found) = list.into_iter().find_map(|branch| child(branch, key, root))
    {
        return Some(found);
    }
    if let Some(items) = schema.get("items").filter(|_| key.parse::<usize>().is_ok()) {
        return Some((key.to_owned(), items.clone()));
    }
    schema
        .get("additionalProperties")
        .filter(|more| more.is_object())
        .map(|more| (key.to_owned(), more.clone()))
}

/// The types that a schema names.
pub(crate) fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// May the value be null?
pub(crate) fn accepts_null(schema: &Value, root: &Value) -> bool {
    let schema = follow(schema, root);
    let named = types(&schema);
    if !named.is_empty() {
        return named.contains(&"null");
    }
    match schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array) {
        Some(list) => list.iter().any(|branch| accepts_null(branch, root)),
        None => schema.get("const").is_none() && schema.get("enum").is_none() && schema.get("allOf").is_none(),
    }
}

/// Names of the required properties.
pub(crate) fn required(schema: &Value) -> Vec<&str> {
    schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}
