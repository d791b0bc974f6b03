//! Settings that differ between sources and sinks.

use serde_json::Value;

/// Leaves out the settings that are for the other kind only (`x-only`), and keeps of each `x-effect` what it says for this one.
/// `kind` is `source` or `sink`.
pub fn keep_kind(schema: &mut Value, kind: &str) {
    match schema {
        Value::Object(map) => {
            map.retain(|_, below| below.get("x-only").is_none_or(|only| only == kind));
            if let Some(effect) = map.get_mut("x-effect")
                && let Some(own) = effect.get(kind)
            {
                *effect = own.clone();
            }
            map.values_mut().for_each(|below| keep_kind(below, kind));
        }
        Value::Array(list) => list.iter_mut().for_each(|below| keep_kind(below, kind)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_other_kind_is_left_out_wherever_it_is() {
        let mut schema = json!({
            "properties": { "both": { "x-effect": { "source": "repeats", "sink": "waits" } }, "theirs": { "x-only": "source" } },
            "oneOf": [{ "properties": { "deep": { "x-only": "source" }, "own": { "x-only": "sink" } } }],
        });
        keep_kind(&mut schema, "sink");
        let expected = json!({
            "properties": { "both": { "x-effect": "waits" } },
            "oneOf": [{ "properties": { "own": { "x-only": "sink" } } }],
        });
        assert_eq!(schema, expected);
    }
}
