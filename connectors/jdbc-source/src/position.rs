//! How far a relation was read, as it is stored.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use openconnect_sql::Mark;
use serde::{Deserialize, Serialize};

/// A row's values of the ordering columns, in their order. Shared: each record has them, and the reader keeps the last ones.
pub(crate) type Marks = Arc<[Mark]>;

/// Identifies the row that has these marks, among those that were read lately.
pub(crate) fn identity(marks: &[Mark]) -> u64 {
    let mut hash = DefaultHasher::new();
    for mark in marks {
        match mark {
            Mark::Integer(value) => value.hash(&mut hash),
            Mark::Real(value) => value.to_bits().hash(&mut hash),
            Mark::Text(text) => text.hash(&mut hash),
            Mark::Bytes { base64 } => (1_u8, base64).hash(&mut hash),
        }
    }
    hash.finish()
}

/// How far a relation was read.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The last row in the order of the ordering columns; none: before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Arc<[Mark]>>,
    /// With `bulk`: when this reading of all rows began, in ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_ms: Option<u64>,
    /// With `bulk`: this was the last row.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub complete: bool,
    /// Where rows may still appear that were not there when their neighbours were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsettled: Option<Arc<Unsettled>>,
}

/// The rows before a position among which others may still appear.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unsettled {
    /// They come after this row; none: from the first one on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Arc<[Mark]>>,
    /// Which of them were read, by a hash of their marks, where they are few; none: not known, so all are read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Vec<u64>>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn positions_are_stored_as_they_always_were() {
        let position = Position {
            after: Some(Arc::from([
                Mark::Text("2024-01-31 12:00:00".into()),
                Mark::Integer(7),
                Mark::Bytes { base64: "AA==".into() },
            ])),
            unsettled: Some(Arc::new(Unsettled {
                after: None,
                read: Some(vec![1, 2]),
            })),
            ..Position::default()
        };
        let json = r#"{"after":["2024-01-31 12:00:00",7,{"base64":"AA=="}],"unsettled":{"read":[1,2]}}"#;
        assert_eq!(serde_json::to_string(&position).unwrap(), json);
        assert_eq!(serde_json::from_str::<Position>(json).unwrap(), position);
        // A hash is the same in each run of the program.
        assert_eq!(identity(&[Mark::Text("a".into())]), identity(&[Mark::Text("a".into())]));
    }
}
