//! What a release changes for those who have the one before: settings that are gone, are demanded now or take something else, and
//! state in another format.

use openconnect_schema::{Setting, settings};
use semver::Version;
use serde_json::Value;
use xtask::Result;

use xtask::connectors::Connector;
use xtask::docs::{default, takes};

/// What has changed.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    /// What users must do something about.
    incompatible: Vec<String>,
    /// What they may want to know.
    other: Vec<String>,
}

impl Differences {
    pub(crate) fn since(connector: &Connector, last: Option<&(Version, Value)>, schema: &Value) -> Result<Self> {
        let Some((_, before)) = last else {
            return Ok(Self::default());
        };
        let mut differences = Self::of(&settings(before), &settings(schema));
        let format = std::fs::read_to_string(connector.folder.join("released/state-format"))?;
        let now = openconnect_core::state::FORMAT;
        if format.trim() != now.to_string() {
            differences.incompatible.push(format!(
                "the state's format is {now}, it was {}: an older binary refuses it",
                format.trim()
            ));
        }
        Ok(differences)
    }

    fn of(before: &[Setting<'_>], after: &[Setting<'_>]) -> Self {
        let mut found = Self::default();
        for old in before {
            let path = &old.path;
            match after.iter().find(|new| new.path == *path) {
                None => found.incompatible.push(format!("`{path}` is gone")),
                Some(new) => {
                    if new.required && !old.required {
                        found.incompatible.push(format!("`{path}` is required now"));
                    }
                    let (took, takes) = (takes(&old.node), takes(&new.node));
                    if lost(&took, &takes) {
                        found.incompatible.push(format!("`{path}` takes {takes}, it took {took}"));
                    }
                    if default(&new.node) != default(&old.node) {
                        found.other.push(format!("`{path}` has another default"));
                    }
                }
            }
        }
        for new in after.iter().filter(|new| !before.iter().any(|old| old.path == new.path)) {
            // In a section that is new itself it stands in nobody's way.
            let parent = new.path.rsplit_once('.').map_or("", |(parent, _)| parent);
            let known = parent.is_empty() || before.iter().any(|old| old.path == parent);
            if new.required && known {
                found.incompatible.push(format!("`{}` is new and required", new.path));
            } else {
                found.other.push(format!("`{}` is new", new.path));
            }
        }
        found
    }

    pub(crate) fn tell(&self) {
        for what in &self.incompatible {
            println!("incompatible: {what}");
        }
        for what in &self.other {
            println!("compatible: {what}");
        }
    }

    /// The lowest version that says enough: below 1.0 the second number tells what the first does later.
    pub(crate) fn least_version(&self, last: Option<&Version>, current: &Version, adds: bool) -> Version {
        let Some(last) = last else { return current.clone() };
        match (self.incompatible.is_empty(), last.major) {
            (false, 0) => Version::new(0, last.minor + 1, 0),
            (false, major) => Version::new(major + 1, 0, 0),
            (true, 1..) if adds => Version::new(last.major, last.minor + 1, 0),
            (true, _) => Version::new(last.major, last.minor, last.patch + 1),
        }
    }
}

/// Does it no longer take something that it took? Of choices some may be gone; anything else must be as it was.
fn lost(before: &str, after: &str) -> bool {
    let choices = |takes: &str| {
        takes
            .strip_prefix("one of ")
            .map(|list| list.split(", ").map(str::to_owned).collect::<Vec<_>>())
    };
    match (choices(before), choices(after)) {
        (Some(before), Some(after)) => before.iter().any(|choice| !after.contains(choice)),
        _ => before != after,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn differences(before: Value, after: Value) -> Differences {
        Differences::of(&settings(&before), &settings(&after))
    }

    #[test]
    fn what_breaks_a_configuration_is_found() {
        let before = json!({ "properties": {
            "gone": { "type": "string" }, "mode": { "enum": ["a", "b"] }, "kept": { "type": "string" }, "size": { "type": "integer" },
        } });
        let after = json!({ "required": ["kept", "new"], "properties": {
            "mode": { "enum": ["a"] }, "kept": { "type": "string" }, "size": { "type": "string" }, "new": { "type": "string" }, "more": { "type": "string" },
        } });
        let found = differences(before.clone(), after);
        assert_eq!(found.incompatible.len(), 5, "{found:?}");
        assert_eq!(found.other, ["`more` is new"]);
        let last = Version::new(0, 3, 4);
        assert_eq!(found.least_version(Some(&last), &last, false), Version::new(0, 4, 0));
        assert_eq!(
            found.least_version(Some(&Version::new(1, 3, 4)), &last, false),
            Version::new(2, 0, 0)
        );
        let mut wider = before.clone();
        wider["properties"]["mode"] = json!({ "enum": ["a", "b", "c"] });
        let fine = differences(before, wider);
        assert!(fine.incompatible.is_empty(), "{fine:?}");
        assert_eq!(fine.least_version(Some(&last), &last, true), Version::new(0, 3, 5));
        assert_eq!(fine.least_version(Some(&Version::new(1, 3, 4)), &last, true), Version::new(1, 4, 0));
        assert_eq!(fine.least_version(None, &last, true), last);
    }
}
