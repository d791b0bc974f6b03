//! An event to what is to be done: fields by name, to be put or deleted. Nothing is read out of JSON that is not needed, and
//! numbers stay the text that they were.

use std::borrow::Cow;
use std::collections::BTreeMap;

use openconnect_change::{Fields, Input, Op, ReadError, read};
use openconnect_core::Failure;
use openconnect_core::cloudevents::{AttributesReader, Event};
use openconnect_protocol::payload;
use openconnect_sql::codes::SQL_VALUE;

use crate::codes;
use crate::config::{Format, JdbcSinkConfig};
use crate::expression::{Data, Expressions, Object, attribute, not_json};

/// What to do with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Put,
    Delete,
    /// All rows of the table.
    Truncate,
}

/// One thing to do.
pub(crate) struct Change<'a> {
    pub(crate) operation: Operation,
    pub(crate) fields: Fields<'a>,
}

/// Reads events as the configuration says.
pub(crate) struct Reader {
    columns: BTreeMap<String, String>,
    format: Format,
    delete_on_null: bool,
    delete_types: Vec<String>,
    truncate: bool,
}

impl Reader {
    pub(crate) fn new(config: &JdbcSinkConfig) -> Self {
        Self {
            columns: config.columns.clone(),
            format: config.format,
            delete_on_null: config.delete_on_null,
            delete_types: config.delete_types.clone(),
            truncate: config.truncate,
        }
    }

    /// Are the fields those that the configuration names?
    pub(crate) fn is_mapped(&self) -> bool {
        !self.columns.is_empty()
    }

    /// What is to be done for the event, in order. `key` names the columns that identify a row.
    pub(crate) fn changes<'a>(&'a self, event: &'a Event, data: &'a Data<'_>, key: &'a [String]) -> Result<Vec<Change<'a>>, Failure> {
        let no_data = event.data().is_none() || data.is_null();
        if self.format == Format::Change {
            return match no_data {
                // Debezium's tombstone follows a delete that was done already.
                true => Ok(Vec::new()),
                false => changed(data, key, self.truncate),
            };
        }
        let delete = (self.delete_on_null && no_data) || self.delete_types.iter().any(|ty| ty == event.ty());
        let fields = if self.is_mapped() {
            self.mapped(event, data, delete.then_some(key))?
        } else {
            fields_of(event, data, delete, key)?
        };
        let operation = if delete { Operation::Delete } else { Operation::Put };
        Ok(vec![Change { operation, fields }])
    }

    fn mapped<'a>(&'a self, event: &'a Event, data: &'a Data<'_>, only: Option<&[String]>) -> Result<Fields<'a>, Failure> {
        let expressions = Expressions::new(event, data);
        let wanted = self
            .columns
            .iter()
            .filter(|(column, _)| only.is_none_or(|only| only.contains(column)));
        wanted
            .map(|(column, expression)| Ok((Cow::Borrowed(column.as_str()), expressions.value(expression)?)))
            .collect()
    }
}

/// Every field of the data. A key that the data lacks is taken from the attribute of its name: a tombstone has no data, but
/// a subject.
fn fields_of<'a>(event: &'a Event, data: &'a Data<'_>, delete: bool, key: &'a [String]) -> Result<Fields<'a>, Failure> {
    let object: Object<'_> = match data.json() {
        Some(json) => serde_json::from_str(json).map_err(|_| match payload::valid_json(json) {
            true => Failure::permanent(codes::SQL_NOT_AN_OBJECT, "the event's data is JSON, but no object"),
            false => not_json(),
        })?,
        None if delete => Object::default(),
        None => {
            return Err(Failure::permanent(
                codes::SQL_NOT_JSON,
                "the event has no JSON data; name the columns in sink.columns to use attributes",
            ));
        }
    };
    let mut fields: Fields<'_> = object.map(|_, raw| Ok::<_, Failure>(Input::Json(raw)))?;
    for key in key {
        if !fields.contains(key)
            && let Some(value) = attribute(event, key)
        {
            fields.add(Cow::Borrowed(key), value);
        }
    }
    Ok(fields)
}

/// An envelope with `before`, `after` and `op`: one change, or two when the key has changed.
fn changed<'a>(data: &'a Data<'_>, key: &[String], truncate: bool) -> Result<Vec<Change<'a>>, Failure> {
    let wrong = |what: &str| Failure::permanent(codes::SQL_NOT_A_CHANGE, format!("the event's data is no change of a row: {what}"));
    let json = data.json().ok_or_else(|| wrong("it is not JSON"))?;
    let change = read(json).map_err(|error| match error {
        ReadError::NotAChange(what) => wrong(&what),
        ReadError::Value { field, reason } => Failure::permanent(SQL_VALUE, format!("the value of `{field}` {reason}")),
    })?;
    let put = |fields| Change {
        operation: Operation::Put,
        fields,
    };
    let delete = |fields| Change {
        operation: Operation::Delete,
        fields,
    };
    match (change.op, change.before, change.after) {
        (Op::Create | Op::Read, _, Some(after)) => Ok(vec![put(after)]),
        (Op::Update, Some(before), Some(after)) if !same(&before, &after, key) => Ok(vec![delete(before), put(after)]),
        (Op::Update, _, Some(after)) => Ok(vec![put(after)]),
        (Op::Delete, Some(before), _) => Ok(vec![delete(before)]),
        (Op::Delete, None, _) => Err(wrong("a delete has no before; let the source write the whole row")),
        (Op::Create | Op::Read | Op::Update, _, None) => Err(wrong("it has no after")),
        (Op::Message, ..) => Ok(Vec::new()),
        (Op::Truncate, ..) if truncate => Ok(vec![Change {
            operation: Operation::Truncate,
            fields: Fields::default(),
        }]),
        (Op::Truncate, ..) => Err(wrong("it is a truncate; set sink.truncate, or do it by hand where it is meant")),
    }
}

/// Do both rows have the same key, as far as `before` tells?
fn same(before: &Fields<'_>, after: &Fields<'_>, key: &[String]) -> bool {
    let text = |fields: &Fields<'_>, name: &str| match fields.get(name) {
        Some(Input::Json(raw)) => Some(raw.get().to_owned()),
        Some(Input::Text(text) | Input::Document(text)) => Some(text.to_string()),
        Some(Input::Bytes(bytes)) => Some(format!("{bytes:?}")),
        _ => None,
    };
    key.iter()
        .all(|name| !before.contains(name) || text(before, name) == text(after, name))
}
