//! An event to a row. Numbers keep every digit: what neither a 64-bit integer nor a double holds exactly becomes text.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use openconnect_core::Failure;
use openconnect_core::cloudevents::event::ExtensionValue;
use openconnect_core::cloudevents::{AttributesReader, Event};
use openconnect_core::template::Template;
use openconnect_protocol::payload;
use serde_json::value::RawValue;

use crate::config::{JdbcSinkConfig, UnknownFields};

/// A value as a database takes it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SqlValue {
    Null,
    Bool(bool),
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

/// What to do with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Put,
    Delete,
}

/// One event's row; `values` are in the order of `columns`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) table: String,
    pub(crate) operation: Operation,
    pub(crate) columns: Vec<String>,
    pub(crate) values: Vec<SqlValue>,
}

/// Maps events to rows.
pub(crate) struct Mapper {
    table: Template,
    key: Vec<String>,
    columns: BTreeMap<String, String>,
    unknown: UnknownFields,
    delete_on_null: bool,
    delete_types: Vec<String>,
}

type Fields<'a> = BTreeMap<&'a str, &'a RawValue>;

impl Mapper {
    pub(crate) fn new(config: &JdbcSinkConfig) -> openconnect_core::Result<Self> {
        Ok(Self {
            table: Template::compile(&config.table)?,
            key: config.key.clone(),
            columns: config.columns.clone(),
            unknown: config.unknown_fields,
            delete_on_null: config.delete_on_null,
            delete_types: config.delete_types.clone(),
        })
    }

    /// The event's table.
    pub(crate) fn table(&self, event: &Event) -> Result<String, Failure> {
        self.table.render(event)
    }

    /// Must the table's columns be known?
    pub(crate) fn needs_columns(&self) -> bool {
        self.columns.is_empty()
    }

    /// The event's row in `table`, which has the columns `known` (empty when not needed).
    pub(crate) fn row(&self, event: &Event, table: String, known: &[String]) -> Result<Row, Failure> {
        let no_data = event.data().is_none() || payload::json(event).is_some_and(|json| json.trim() == "null");
        let delete = (self.delete_on_null && no_data) || self.delete_types.iter().any(|ty| ty == event.ty());
        let values = if self.columns.is_empty() {
            self.fields(event, known, delete)?
        } else {
            self.mapped(event, delete)?
        };
        for key in &self.key {
            if values.get(key).is_none_or(|value| *value == SqlValue::Null) {
                return Err(Failure::permanent(
                    "SQL_NO_KEY",
                    format!("the event has no value for the key column `{key}` of `{table}`"),
                ));
            }
        }
        let operation = if delete { Operation::Delete } else { Operation::Put };
        let (columns, values): (Vec<_>, Vec<_>) = values
            .into_iter()
            .filter(|(column, _)| operation == Operation::Put || self.key.contains(column))
            .unzip();
        if columns.is_empty() {
            return Err(Failure::permanent(
                "SQL_NO_COLUMNS",
                format!("no field of the event is a column of `{table}`"),
            ));
        }
        Ok(Row {
            table,
            operation,
            columns,
            values,
        })
    }

    /// Every field that is a column. A key that the data lacks is taken from the attribute of its name: a tombstone has no
    /// data, but a subject.
    fn fields(&self, event: &Event, known: &[String], delete: bool) -> Result<BTreeMap<String, SqlValue>, Failure> {
        let json = payload::json(event);
        let fields: Fields<'_> = match &json {
            Some(json) if json.trim() != "null" => serde_json::from_str(json)
                .map_err(|_| Failure::permanent("SQL_NOT_AN_OBJECT", "the event's data is JSON, but no object"))?,
            _ if delete => Fields::new(),
            _ => {
                return Err(Failure::permanent(
                    "SQL_NOT_JSON",
                    "the event has no JSON data; name the columns in sink.columns to use attributes",
                ));
            }
        };
        let mut values = BTreeMap::new();
        for (name, raw) in fields {
            if known.iter().any(|column| column == name) {
                values.insert(name.to_owned(), value(raw)?);
            } else if self.unknown == UnknownFields::Fail {
                let name: String = name.chars().take(64).collect();
                return Err(Failure::permanent(
                    "SQL_UNKNOWN_FIELD",
                    format!("the field `{name}` is no column of the table"),
                ));
            }
        }
        for key in &self.key {
            if let Entry::Vacant(slot) = values.entry(key.clone())
                && let Some(value) = attribute(event, key)
            {
                slot.insert(value);
            }
        }
        Ok(values)
    }

    fn mapped(&self, event: &Event, delete: bool) -> Result<BTreeMap<String, SqlValue>, Failure> {
        let wanted = self.columns.iter().filter(|(column, _)| !delete || self.key.contains(column));
        wanted
            .map(|(column, expression)| Ok((column.clone(), evaluate(event, expression)?)))
            .collect()
    }
}

fn evaluate(event: &Event, expression: &str) -> Result<SqlValue, Failure> {
    if expression == "data" {
        return Ok(whole(event));
    }
    let Some(path) = expression.strip_prefix("data.") else {
        return Ok(attribute(event, expression).unwrap_or(SqlValue::Null));
    };
    let Some(json) = payload::json(event) else {
        return Ok(SqlValue::Null);
    };
    let mut current: &RawValue =
        serde_json::from_str(&json).map_err(|_| Failure::permanent("SQL_NOT_JSON", "the event's data can't be read as JSON"))?;
    for name in path.split('.') {
        // A path through something that is no object leads nowhere: null, as for an absent field.
        let Ok(fields) = serde_json::from_str::<Fields<'_>>(current.get()) else {
            return Ok(SqlValue::Null);
        };
        match fields.get(name) {
            Some(next) => current = next,
            None => return Ok(SqlValue::Null),
        }
    }
    value(current)
}

/// The whole data: text when it is text, else bytes.
fn whole(event: &Event) -> SqlValue {
    match payload::bytes(event) {
        None => SqlValue::Null,
        Some(bytes) => match String::from_utf8(bytes.into_owned()) {
            Ok(text) => SqlValue::Text(text),
            Err(error) => SqlValue::Blob(error.into_bytes()),
        },
    }
}

fn attribute(event: &Event, name: &str) -> Option<SqlValue> {
    let text = |text: &str| Some(SqlValue::Text(text.to_owned()));
    match name {
        "id" => text(event.id()),
        "source" => text(event.source()),
        "type" => text(event.ty()),
        "subject" => text(event.subject()?),
        "datacontenttype" => text(event.datacontenttype()?),
        "dataschema" => text(event.dataschema()?.as_str()),
        "time" => text(&event.time()?.to_rfc3339()),
        name => Some(match event.extension(name)? {
            ExtensionValue::String(value) => SqlValue::Text(value.clone()),
            ExtensionValue::Boolean(value) => SqlValue::Bool(*value),
            ExtensionValue::Integer(value) => SqlValue::Integer(*value),
        }),
    }
}

fn value(raw: &RawValue) -> Result<SqlValue, Failure> {
    let json = raw.get();
    Ok(match json.as_bytes().first() {
        Some(b'n') => SqlValue::Null,
        Some(b't') => SqlValue::Bool(true),
        Some(b'f') => SqlValue::Bool(false),
        Some(b'"') => {
            SqlValue::Text(serde_json::from_str(json).map_err(|e| Failure::permanent("SQL_TEXT", format!("a text can't be read: {e}")))?)
        }
        Some(b'-' | b'0'..=b'9') => number(json),
        _ => SqlValue::Text(json.to_owned()),
    })
}

fn number(json: &str) -> SqlValue {
    if let Ok(integer) = json.parse::<i64>() {
        return SqlValue::Integer(integer);
    }
    match json.parse::<f64>() {
        Ok(real) if json.contains(['.', 'e', 'E']) && (format!("{real}") == json || format!("{real:?}") == json) => SqlValue::Real(real),
        _ => SqlValue::Text(json.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_keep_every_digit() {
        assert_eq!(number("9007199254740993"), SqlValue::Integer(9_007_199_254_740_993));
        assert_eq!(number("18446744073709551615"), SqlValue::Text("18446744073709551615".into()));
        assert_eq!(number("1.5"), SqlValue::Real(1.5));
        assert_eq!(
            number("0.1000000000000000000000001"),
            SqlValue::Text("0.1000000000000000000000001".into())
        );
        assert_eq!(number("1.50"), SqlValue::Text("1.50".into()));
    }
}
