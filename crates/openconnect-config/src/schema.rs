//! The JSON Schema of a program's settings.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

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
