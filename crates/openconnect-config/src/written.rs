//! A configuration as it was written, and what differs in another one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::place::Path;
use crate::redact::redact;

/// A configuration as it was written, placeholders and all. Two of them are compared with their secrets, which are never shown.
#[derive(Clone)]
pub struct Written {
    value: Value,
    shown: Value,
}

/// A setting that is not the same in two configurations.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The keys that lead to it.
    pub path: Vec<String>,
    /// What it was, without secrets; null where it was not set.
    pub before: Value,
    /// What it is, without secrets; null where it is not set. Both are equal where a secret alone differs.
    pub after: Value,
}

impl Written {
    pub(crate) fn new(value: Value, secrets: &BTreeSet<Path>) -> Self {
        let shown = redact(&value, &Path::default(), secrets);
        Self { value, shown }
    }

    /// What people may see of it.
    pub fn shown(&self) -> &Value {
        &self.shown
    }

    /// The settings that `newer` has otherwise, in order of their paths. A list counts as one.
    pub fn changes(&self, newer: &Self) -> Vec<Change> {
        let mut found = Vec::new();
        compare(self.side(), newer.side(), &mut Vec::new(), &mut found);
        found
    }

    fn side(&self) -> Side<'_> {
        Side {
            value: &self.value,
            shown: &self.shown,
        }
    }
}

/// In which nothing is secret.
impl From<Value> for Written {
    fn from(value: Value) -> Self {
        Self::new(value, &BTreeSet::new())
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown.fmt(f)
    }
}

/// A part of one of the two configurations.
#[derive(Clone, Copy)]
struct Side<'a> {
    value: &'a Value,
    shown: &'a Value,
}

const ABSENT: Side<'static> = Side {
    value: &Value::Null,
    shown: &Value::Null,
};

impl<'a> Side<'a> {
    /// The keys of a section that may be looked into.
    fn section(self) -> Option<BTreeMap<&'a str, Self>> {
        let (Value::Object(values), Value::Object(shown)) = (self.value, self.shown) else {
            return None;
        };
        let entries = values.iter().zip(shown.values());
        Some(entries.map(|((key, value), shown)| (key.as_str(), Self { value, shown })).collect())
    }
}

fn compare(old: Side<'_>, new: Side<'_>, path: &mut Vec<String>, found: &mut Vec<Change>) {
    if old.value == new.value {
        return;
    }
    let sections = match (old.section(), new.section()) {
        (None, Some(new)) if old.value.is_null() => (BTreeMap::new(), new),
        (Some(old), None) if new.value.is_null() => (old, BTreeMap::new()),
        (Some(old), Some(new)) => (old, new),
        _ => Default::default(),
    };
    let keys: BTreeSet<&str> = sections.0.keys().chain(sections.1.keys()).copied().collect();
    if keys.is_empty() {
        // A value, or a section that is there without a key.
        found.push(Change {
            path: path.clone(),
            before: old.shown.clone(),
            after: new.shown.clone(),
        });
    }
    for key in keys {
        path.push(key.to_owned());
        let side = |section: &BTreeMap<&str, _>| section.get(key).copied().unwrap_or(ABSENT);
        compare(side(&sections.0), side(&sections.1), path, found);
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changes(old: Value, new: Value) -> Vec<(String, Value, Value)> {
        let secrets = BTreeSet::from([Path::parse("mesh.password"), Path::parse("sink.auth")]);
        let [old, new] = [old, new].map(|value| Written::new(value, &secrets));
        let told = old.changes(&new).into_iter();
        told.map(|change| (change.path.join("."), change.before, change.after)).collect()
    }

    #[test]
    fn a_setting_that_differs_is_found_wherever_it_is() {
        let old = json!({ "name": "a", "sink": { "url": "x", "headers": { "A": "1" }, "key": ["id"] } });
        let new = json!({ "name": "a", "sink": { "headers": { "A": "1", "B.c": "2" }, "key": ["id", "no"], "deduplicate": {} }, "admin": { "listen": "l" } });
        let found = [
            ("admin.listen", json!(null), json!("l")),
            ("sink.deduplicate", json!(null), json!({})),
            ("sink.headers.B.c", json!(null), json!("2")),
            ("sink.key", json!(["id"]), json!(["id", "no"])),
            ("sink.url", json!("x"), json!(null)),
        ];
        assert_eq!(
            changes(old.clone(), new),
            found.map(|(path, before, after)| (path.to_owned(), before, after))
        );
        assert!(changes(old.clone(), old).is_empty());
        assert!(changes(json!({ "admin": null }), json!({})).is_empty());
    }

    #[test]
    fn a_secret_that_differs_is_found_and_not_shown() {
        let old = json!({ "mesh": { "password": "c4n4ry" }, "sink": { "auth": { "token": "c4n4ry" }, "url": "http://u:c4n4ry@h/" } });
        let new = json!({ "mesh": { "password": "other" }, "sink": { "auth": { "token": "other" }, "url": "http://u:other@h/" } });
        let found = changes(old.clone(), new);
        let paths: Vec<&str> = found.iter().map(|(path, ..)| path.as_str()).collect();
        assert_eq!(paths, ["mesh.password", "sink.auth", "sink.url"]);
        for (_, before, after) in &found {
            assert!(before == after && !before.to_string().contains("c4n4ry"));
        }
        assert!(
            !format!(
                "{:?}",
                Written::new(old, &BTreeSet::from([Path::parse("mesh.password"), Path::parse("sink.auth")]))
            )
            .contains("c4n4ry")
        );
    }
}
