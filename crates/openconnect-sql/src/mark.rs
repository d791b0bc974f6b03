//! Values by which rows are ordered, as they are stored in positions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openconnect_change::Cell;
use serde::{Deserialize, Serialize};

/// The value of an ordering column in a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Mark {
    /// SQLite's integers.
    Integer(i64),
    /// SQLite's doubles.
    Real(f64),
    /// The database's own text of it.
    Text(String),
    /// Bytes.
    Bytes {
        /// The bytes in base64.
        base64: String,
    },
}

impl Mark {
    /// A row's value; none for `NULL`.
    pub fn of(cell: &Cell) -> Option<Self> {
        Some(match cell {
            Cell::Null => return None,
            Cell::Integer(value) => Self::Integer(*value),
            Cell::Real(value) => Self::Real(*value),
            Cell::Text(text) => Self::Text(text.clone()),
            Cell::Bytes(bytes) => Self::Bytes {
                base64: STANDARD.encode(bytes),
            },
        })
    }

    /// For an id.
    pub fn text(&self) -> String {
        match self {
            Self::Integer(value) => value.to_string(),
            Self::Real(value) => value.to_string(),
            Self::Text(text) => text.clone(),
            Self::Bytes { base64 } => base64.clone(),
        }
    }
}
