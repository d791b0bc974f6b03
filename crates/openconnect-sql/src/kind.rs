//! Kinds of columns: how a value is written as JSON.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::dialect::Dialect;

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decimals {
    /// As text: most JSON readers would make a double of a number, and lose digits.
    #[default]
    Text,
    /// As a number with every digit.
    Number,
}

impl Kind {
    /// PostgreSQL, by the type's name in `pg_type`; `category` is `A` for arrays.
    pub(crate) fn postgres(name: &str, category: &str) -> Self {
        if category == "A" {
            return Self::Array;
        }
        match name {
            "bool" => Self::Bool,
            "int2" | "int4" | "int8" | "oid" => Self::Integer,
            "numeric" => Self::Decimal,
            "float4" => Self::Float,
            "float8" => Self::Double,
            "bytea" => Self::Bytes,
            "json" | "jsonb" => Self::Json,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::TimestampTz,
            _ => Self::Text,
        }
    }

    /// MySQL and MariaDB, by `data_type` and `column_type` of `information_schema.columns`.
    pub(crate) fn mysql(data_type: &str, column_type: &str) -> Self {
        match data_type {
            // `bool` is `tinyint(1)`, which holds 0 to 255: a number loses nothing.
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Self::Integer,
            "decimal" => Self::Decimal,
            "float" => Self::Float,
            "double" => Self::Double,
            "bit" => Self::Bits {
                width: column_type.trim_start_matches("bit(").trim_end_matches(')').parse().unwrap_or(0),
            },
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector" => Self::Bytes,
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon" | "geomcollection"
            | "geometrycollection" => Self::Bytes,
            "json" => Self::Json,
            "date" => Self::Date,
            "time" => Self::Time,
            "datetime" => Self::Timestamp,
            "timestamp" => Self::TimestampTz,
            _ => Self::Text,
        }
    }

    /// A query's column, by the type that the driver names, in small letters.
    pub(crate) fn described(dialect: Dialect, ty: &str) -> Self {
        match dialect {
            Dialect::Postgres => Self::postgres(ty.trim_end_matches("[]"), if ty.ends_with("[]") { "A" } else { "" }),
            Dialect::MySql if ty == "boolean" => Self::Integer,
            Dialect::MySql => Self::mysql(ty.trim_end_matches(" unsigned"), ""),
            Dialect::Sqlite => Self::sqlite(ty),
        }
    }

    /// SQLite, by the declared type. Values may be of any type there, whatever was declared: only what needs to be told from
    /// text is told.
    pub(crate) fn sqlite(declared: &str) -> Self {
        match declared.to_ascii_lowercase().as_str() {
            "blob" => Self::Bytes,
            "json" | "jsonb" => Self::Json,
            "bool" | "boolean" => Self::Bool,
            _ => Self::Dynamic,
        }
    }

    /// The expression that selects the column so that nothing is lost on the way.
    pub(crate) fn selected(self, dialect: Dialect, column: &str) -> String {
        match (dialect, self) {
            (Dialect::Sqlite, _) | (_, Self::Bytes) => column.to_owned(),
            (Dialect::Postgres, Self::Array) => format!("to_json({column})::text"),
            (Dialect::Postgres, _) => format!("{column}::text"),
            // As text a single-precision number has six digits.
            (Dialect::MySql, Self::Float) => format!("cast(cast({column} as double) as char)"),
            (Dialect::MySql, Self::Bits { .. }) => format!("cast(({column} + 0) as char)"),
            // Without a length a cast is cut at 65,535 bytes.
            (Dialect::MySql, Self::Text | Self::Json) => format!("convert({column} using utf8mb4)"),
            (Dialect::MySql, _) => format!("cast({column} as char(100))"),
        }
    }
}
