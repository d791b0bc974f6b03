//! What the types of each database mean, and how a column is selected so that nothing is lost.

use openconnect_change::{Column, Kind};

use crate::dialect::Dialect;

/// PostgreSQL, by the type's name in `pg_type`; `category` is `A` for arrays.
pub(crate) fn postgres(name: &str, category: &str) -> Kind {
    if category == "A" {
        return Kind::Array;
    }
    match name {
        "bool" => Kind::Bool,
        "int2" | "int4" | "int8" | "oid" => Kind::Integer,
        "numeric" => Kind::Decimal,
        "float4" => Kind::Float,
        "float8" => Kind::Double,
        "bytea" => Kind::Bytes,
        "json" | "jsonb" => Kind::Json,
        "date" => Kind::Date,
        "time" => Kind::Time,
        "timestamp" => Kind::Timestamp,
        "timestamptz" => Kind::TimestampTz,
        _ => Kind::Text,
    }
}

/// MySQL and MariaDB, by `data_type` and `column_type` of `information_schema.columns`.
pub(crate) fn mysql(data_type: &str, column_type: &str) -> Kind {
    match data_type {
        // `bool` is `tinyint(1)`, which holds 0 to 255: a number loses nothing.
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Kind::Integer,
        "decimal" => Kind::Decimal,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bit" => Kind::Bits {
            width: column_type.trim_start_matches("bit(").trim_end_matches(')').parse().unwrap_or(0),
        },
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector" => Kind::Bytes,
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon" | "geomcollection"
        | "geometrycollection" => Kind::Bytes,
        "json" => Kind::Json,
        "date" => Kind::Date,
        "time" => Kind::Time,
        "datetime" => Kind::Timestamp,
        "timestamp" => Kind::TimestampTz,
        _ => Kind::Text,
    }
}

/// A query's column, by the type that the driver names, in small letters.
pub(crate) fn described(dialect: Dialect, ty: &str) -> Kind {
    match dialect {
        Dialect::Postgres => postgres(ty.trim_end_matches("[]"), if ty.ends_with("[]") { "A" } else { "" }),
        Dialect::MySql if ty == "boolean" => Kind::Integer,
        Dialect::MySql => mysql(ty.trim_end_matches(" unsigned"), ""),
        Dialect::Sqlite => sqlite(ty),
    }
}

/// SQLite, by the declared type. Values may be of any type there, whatever was declared: only what needs to be told from
/// text is told.
pub(crate) fn sqlite(declared: &str) -> Kind {
    match declared.to_ascii_lowercase().as_str() {
        "blob" => Kind::Bytes,
        "json" | "jsonb" => Kind::Json,
        "bool" | "boolean" => Kind::Bool,
        _ => Kind::Dynamic,
    }
}

impl Dialect {
    /// The expression that selects the column so that nothing is lost on the way.
    pub fn selected(self, column: &Column) -> String {
        let name = self.quote(&column.name);
        // A type that the driver does not know, as the bytes that it is.
        if self == Self::MySql && column.type_name == "vector" {
            return format!("unhex(hex({name}))");
        }
        selected(column.kind, self, &name)
    }
}

fn selected(kind: Kind, dialect: Dialect, column: &str) -> String {
    match (dialect, kind) {
        (Dialect::Sqlite, _) | (_, Kind::Bytes) => column.to_owned(),
        (Dialect::Postgres, Kind::Array) => format!("to_json({column})::text"),
        (Dialect::Postgres, _) => format!("{column}::text"),
        // As text a single-precision number has six digits.
        (Dialect::MySql, Kind::Float) => format!("cast(cast({column} as double) as char)"),
        (Dialect::MySql, Kind::Bits { .. }) => format!("cast(({column} + 0) as char)"),
        // Without a length a cast is cut at 65,535 bytes.
        (Dialect::MySql, Kind::Text | Kind::Json) => format!("convert({column} using utf8mb4)"),
        (Dialect::MySql, _) => format!("cast({column} as char(100))"),
    }
}
