//! JSON to what a column takes, without loss.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openconnect_change::{Column, Input, Kind, json_text};
use serde_json::value::RawValue;

use crate::dialect::Dialect;
use crate::statement::Value;
use crate::time::{sql_text, to_utc};

/// Why a value can't be written to a column; says nothing of the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit(pub &'static str);

impl Dialect {
    /// The value as a statement's parameter that the column takes.
    ///
    /// # Errors
    ///
    /// [`Unfit`] where the column cannot hold the value.
    pub fn value(self, column: &Column, input: &Input<'_>) -> Result<Value, Unfit> {
        let dialect = self;
        let value = match input {
            Input::Null => Value::Null,
            Input::Integer(value) => number(column, dialect, &value.to_string())?,
            Input::Bool(value) => boolean(column, dialect, *value),
            Input::Bytes(bytes) => from_bytes(column, bytes)?,
            Input::Text(text) => from_text(column, dialect, text)?,
            Input::Document(text) if column.kind == Kind::Json => Value::Text(text.to_string()),
            Input::Document(text) => from_text(column, dialect, text)?,
            Input::Json(raw) => from_json(column, dialect, raw)?,
        };
        match &value {
            Value::Text(text) if dialect == Dialect::Postgres && text.contains('\0') => {
                Err(Unfit("holds a zero character, which PostgreSQL can't store"))
            }
            Value::Text(text) if dialect == Dialect::MySql && is_taken_as_number(column, text) => {
                Err(Unfit("is a number, and none of the column's members"))
            }
            _ => Ok(value),
        }
    }
}

fn from_bytes(column: &Column, bytes: &[u8]) -> Result<Value, Unfit> {
    if matches!(column.kind, Kind::Bytes | Kind::Dynamic) {
        return Ok(Value::Bytes(bytes.to_vec()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Unfit("is not text"))?;
    Ok(Value::Text(text.to_owned()))
}

fn from_text(column: &Column, dialect: Dialect, text: &str) -> Result<Value, Unfit> {
    Ok(match column.kind {
        Kind::Bytes => Value::Bytes(text.as_bytes().to_vec()),
        Kind::Json => Value::Text(json_text(text)),
        _ => decoded(column, dialect, text.to_owned())?,
    })
}

fn from_json(column: &Column, dialect: Dialect, raw: &RawValue) -> Result<Value, Unfit> {
    let json = raw.get();
    if json == "null" {
        return Ok(Value::Null);
    }
    if column.kind == Kind::Json {
        return Ok(Value::Text(json.to_owned()));
    }
    Ok(match json.as_bytes().first() {
        Some(b't' | b'f') => boolean(column, dialect, json == "true"),
        Some(b'"') => {
            let text: String = serde_json::from_str(json).map_err(|_| Unfit("is a text that can't be read"))?;
            if column.kind == Kind::Bytes {
                Value::Bytes(STANDARD.decode(text).map_err(|_| Unfit("is not base64"))?)
            } else {
                decoded(column, dialect, text)?
            }
        }
        Some(b'-' | b'0'..=b'9') => number(column, dialect, json)?,
        Some(b'[') if column.kind == Kind::Array => Value::Text(array(column, raw)?),
        _ if column.kind == Kind::Bytes => Value::Bytes(json.as_bytes().to_vec()),
        _ => Value::Text(json.to_owned()),
    })
}

/// A text that is meant as this kind of value.
fn decoded(column: &Column, dialect: Dialect, text: String) -> Result<Value, Unfit> {
    Ok(match column.kind {
        // No database keeps the zone here: the time is taken in UTC.
        Kind::Timestamp => Value::Text(to_utc(&text).map_or(text, sql_text)),
        // MySQL knows no `Z`; its session is in UTC.
        Kind::TimestampTz if dialect == Dialect::MySql => Value::Text(to_utc(&text).map_or(text, sql_text)),
        Kind::Bits { .. } => Value::Unsigned(text.parse().map_err(|_| Unfit("is no number of bits"))?),
        Kind::Integer if dialect == Dialect::MySql => integer(&text),
        _ => Value::Text(text),
    })
}

fn number(column: &Column, dialect: Dialect, json: &str) -> Result<Value, Unfit> {
    // Some write every number as a double.
    let digits = match json.split_once('.') {
        Some((whole, rest)) if column.kind == Kind::Integer && rest.bytes().all(|b| b == b'0') => whole,
        _ => json,
    };
    Ok(match (dialect, column.kind) {
        (Dialect::Postgres, _) => Value::Text(digits.to_owned()),
        (_, Kind::Bits { .. }) => Value::Unsigned(digits.parse().map_err(|_| Unfit("is no number of bits"))?),
        (Dialect::MySql, Kind::Integer) => integer(digits),
        // A decimal's digits, and a double's, are read by the database: a double of ours could lose some.
        (Dialect::MySql, _) => Value::Text(digits.to_owned()),
        (Dialect::Sqlite, _) => exact_number(digits),
    })
}

/// A JSON array as PostgreSQL writes arrays.
fn array(column: &Column, raw: &RawValue) -> Result<String, Unfit> {
    let of_json = column.type_name.starts_with("json");
    let mut out = String::with_capacity(raw.get().len() + 2);
    push_array(&mut out, raw, of_json)?;
    Ok(out)
}

/// A parameter for a column of MySQL's integers. MySQL keeps the type that a parameter had when the statement was prepared, and
/// converts later values to it: a column's values must all have the type that its kind demands.
fn integer(digits: &str) -> Value {
    match (digits.parse(), digits.parse()) {
        (Ok(signed), _) => Value::Integer(signed),
        (_, Ok(unsigned)) => Value::Unsigned(unsigned),
        _ => Value::Text(digits.to_owned()),
    }
}

fn boolean(column: &Column, dialect: Dialect, value: bool) -> Value {
    match (dialect, column.kind) {
        (Dialect::Postgres, _) => Value::Text(value.to_string()),
        (Dialect::MySql, Kind::Integer) | (Dialect::Sqlite, _) => Value::Integer(value.into()),
        (Dialect::MySql, Kind::Bits { .. }) => Value::Unsigned(value.into()),
        (Dialect::MySql, _) => Value::Text(u8::from(value).to_string()),
    }
}

/// MySQL takes a number that is no member of an `enum` as a member's place, and one that is none of a `set` as a set of bits.
fn is_taken_as_number(column: &Column, text: &str) -> bool {
    let digits = text.trim().trim_start_matches(['+', '-']);
    let (is_enum, is_set) = (column.type_name.starts_with("enum("), column.type_name.starts_with("set("));
    (is_enum || is_set)
        && !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !column.type_name.contains(&format!("'{text}'"))
}

/// SQLite has 64-bit integers and doubles: what neither holds exactly becomes text.
fn exact_number(json: &str) -> Value {
    if let Ok(integer) = json.parse::<i64>() {
        return Value::Integer(integer);
    }
    match json.parse::<f64>() {
        Ok(real) if json.contains(['.', 'e', 'E']) && (format!("{real}") == json || format!("{real:?}") == json) => Value::Real(real),
        _ => Value::Text(json.to_owned()),
    }
}

fn push_array(out: &mut String, raw: &RawValue, of_json: bool) -> Result<(), Unfit> {
    let elements: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| Unfit("is an array that can't be read"))?;
    out.push('{');
    for (at, element) in elements.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let json = element.get();
        match json.as_bytes().first() {
            Some(b'n') => out.push_str("NULL"),
            _ if of_json => push_quoted(out, json),
            Some(b'[') => push_array(out, element, of_json)?,
            Some(b'"') => {
                let text: String = serde_json::from_str(json).map_err(|_| Unfit("holds a text that can't be read"))?;
                push_quoted(out, &text);
            }
            Some(b'{') => push_quoted(out, json),
            _ => out.push_str(json),
        }
    }
    out.push('}');
    Ok(())
}

fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn value(dialect: Dialect, kind: Kind, type_name: &str, json: &str) -> Result<Value, Unfit> {
        let column = Column {
            name: "c".into(),
            kind,
            type_name: type_name.into(),
            generated: false,
        };
        dialect.value(&column, &Input::Json(serde_json::from_str(json).unwrap()))
    }

    fn text(text: &str) -> Result<Value, Unfit> {
        Ok(Value::Text(text.to_owned()))
    }

    #[test]
    fn numbers_keep_every_digit() {
        use Dialect::{MySql, Postgres, Sqlite};
        let sqlite = |json| value(Sqlite, Kind::Dynamic, "", json);
        assert_eq!(sqlite("9007199254740993"), Ok(Value::Integer(9_007_199_254_740_993)));
        assert_eq!(sqlite("18446744073709551615"), text("18446744073709551615"));
        assert_eq!(sqlite("1.5"), Ok(Value::Real(1.5)));
        assert_eq!(sqlite("0.1000000000000000000000001"), text("0.1000000000000000000000001"));
        assert_eq!(sqlite("1.50"), text("1.50"));
        assert_eq!(value(MySql, Kind::Decimal, "decimal", "1.50"), text("1.50"));
        assert_eq!(
            value(MySql, Kind::Integer, "bigint", "18446744073709551615"),
            Ok(Value::Unsigned(u64::MAX))
        );
        assert_eq!(value(Postgres, Kind::Integer, "integer", "7.0"), text("7"));
        assert_eq!(
            value(MySql, Kind::Bits { width: 64 }, "bit", "18446744073709551615"),
            Ok(Value::Unsigned(u64::MAX))
        );
    }

    #[test]
    fn a_column_of_mysql_gets_parameters_of_one_type() {
        let value = |kind, json| value(Dialect::MySql, kind, "", json);
        for (kind, given) in [
            (Kind::Text, ["5", "\"x\"", "\"1e3\"", "true"]),
            (Kind::Decimal, ["5", "1.5", "\"1e3\"", "false"]),
            (Kind::Double, ["5", "1e300", "\"1\"", "true"]),
            (Kind::Date, ["20240131", "\"2024-01-31\"", "0", "false"]),
        ] {
            for json in given {
                assert!(matches!(value(kind, json), Ok(Value::Text(_))), "{kind:?} {json}");
            }
        }
        for json in ["5", "7.0", "\"-5\"", "true"] {
            assert!(matches!(value(Kind::Integer, json), Ok(Value::Integer(_))), "{json}");
        }
    }

    #[test]
    fn a_number_is_a_member_of_an_enum_and_never_its_place() {
        let value = |type_name, json| value(Dialect::MySql, Kind::Text, type_name, json);
        assert_eq!(value("enum('3','2','1')", "1"), text("1"));
        assert_eq!(value("enum('a','b')", "\"b\""), text("b"));
        for json in ["1", "\"1\"", "\" 1\"", "true"] {
            assert!(value("enum('a','b')", json).is_err(), "{json}");
        }
        assert!(value("set('a','b','c')", "3").is_err());
        assert_eq!(value("set('a','b','c')", "\"a,b\""), text("a,b"));
    }

    #[test]
    fn arrays_are_written_as_postgresql_writes_them() {
        let array = |type_name, json| value(Dialect::Postgres, Kind::Array, type_name, json);
        assert_eq!(array("text[]", r#"["a,\"b\\", null, ""]"#), text(r#"{"a,\"b\\",NULL,""}"#));
        assert_eq!(array("integer[]", "[[1,2],[3,null]]"), text("{{1,2},{3,NULL}}"));
        assert_eq!(array("jsonb[]", r#"["x",{"a":[1]}]"#), text(r#"{"\"x\"","{\"a\":[1]}"}"#));
    }

    #[test]
    fn times_with_a_zone_are_taken_in_utc_where_a_column_has_none() {
        let json = "\"2024-01-31T12:00:00.5+02:00\"";
        assert_eq!(
            value(Dialect::Postgres, Kind::Timestamp, "timestamp", json),
            text("2024-01-31 10:00:00.500")
        );
        assert_eq!(
            value(Dialect::MySql, Kind::TimestampTz, "timestamp", json),
            text("2024-01-31 10:00:00.500")
        );
        assert_eq!(
            value(Dialect::Postgres, Kind::TimestampTz, "timestamptz", json),
            text("2024-01-31T12:00:00.5+02:00")
        );
    }

    #[test]
    fn bytes_are_base64_and_a_zero_character_is_named() {
        assert_eq!(value(Dialect::MySql, Kind::Bytes, "blob", "\"AAE=\""), Ok(Value::Bytes(vec![0, 1])));
        assert_eq!(value(Dialect::MySql, Kind::Bytes, "blob", "\"?\""), Err(Unfit("is not base64")));
        assert!(value(Dialect::Postgres, Kind::Text, "text", "\"a\\u0000\"").is_err());
    }
}
