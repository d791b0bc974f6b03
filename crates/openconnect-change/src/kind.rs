//! Kinds of columns: how a value is written as JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a column's values look in JSON. `docs/sql-types.md` has the table for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true`, `false`.
    Bool,
    /// A number; also 64-bit unsigned ones.
    Integer,
    /// Text with every digit, or a number: see [`Decimals`].
    Decimal,
    /// A number of single precision; text where JSON has none (`NaN`, `Infinity`).
    Float,
    /// A number of double precision; text where JSON has none.
    Double,
    /// Text: also enumerations, sets, UUIDs, addresses, intervals, ranges.
    Text,
    /// Text in base64.
    Bytes,
    /// The JSON itself.
    Json,
    /// `2024-01-31`.
    Date,
    /// `12:34:56.789`.
    Time,
    /// Without a zone: `2024-01-31T12:34:56.789`.
    Timestamp,
    /// In UTC: `2024-01-31T12:34:56.789Z`.
    TimestampTz,
    /// MySQL's `bit`: a number, `true` or `false` where it has one bit.
    Bits {
        /// How many bits; 0 where it is not known.
        width: u32,
    },
    /// PostgreSQL's arrays: a JSON array.
    Array,
    /// Whatever is in it, by its own type (SQLite's columns without a declared type).
    Dynamic,
}

/// How decimals are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decimals {
    /// As text: most JSON readers would make a double of a number, and lose digits.
    #[default]
    Text,
    /// As a number with every digit.
    Number,
}
