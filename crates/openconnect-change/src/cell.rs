//! A value as a database wrote it, and the column that it stands in.

use crate::kind::Kind;

/// A value that was read. Databases with many types give their own text of a value, so that no digit is lost: see
/// [`Kind`] for what the text means.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// `NULL`.
    Null,
    /// A 64-bit integer.
    Integer(i64),
    /// A double.
    Real(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Cell {
    /// The text, where it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        let beside = match self {
            Self::Null | Self::Integer(_) | Self::Real(_) => 0,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        };
        size_of::<Self>() + beside
    }
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What its values mean.
    pub kind: Kind,
    /// Its type in the database's words, without a length.
    pub type_name: String,
    /// Computed by the database: cannot be written.
    pub generated: bool,
}
