//! An event to what is to be done: fields by name, to be put or deleted. Nothing is read out of JSON that is not needed, and
//! numbers stay the text that they were.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use openconnect_core::Failure;
use openconnect_core::cloudevents::event::ExtensionValue;
use openconnect_core::cloudevents::{AttributesReader, Event};
use openconnect_protocol::payload;
use openconnect_sql::Input;
use serde_json::value::RawValue;

use crate::config::{Format, JdbcSinkConfig};
use crate::debezium::Schema;

/// What to do with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Put,
    Delete,
    /// All rows of the table.
    Truncate,
}

/// Fields of a row by their names.
pub(crate) type Fields<'a> = BTreeMap<Cow<'a, str>, Input<'a>>;

/// One thing to do.
pub(crate) struct Change<'a> {
    pub(crate) operation: Operation,
    pub(crate) fields: Fields<'a>,
}

type Object<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// Reads events as the configuration says.
pub(crate) struct Reader {
    columns: BTreeMap<String, String>,
    format: Format,
    delete_on_null: bool,
    delete_types: Vec<String>,
    truncate: bool,
}

/// The event's data while it is read.
pub(crate) struct Data<'a>(Option<Cow<'a, str>>);

impl<'a> Data<'a> {
    pub(crate) fn of(event: &'a Event) -> Self {
        Self(payload::json(event))
    }

    fn json(&self) -> Option<&str> {
        self.0.as_deref().filter(|json| json.trim() != "null")
    }
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
    pub(crate) fn changes<'a>(&self, event: &'a Event, data: &'a Data<'_>, key: &[String]) -> Result<Vec<Change<'a>>, Failure> {
        let no_data = event.data().is_none() || (data.0.is_some() && data.json().is_none());
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

    fn mapped<'a>(&self, event: &'a Event, data: &'a Data<'_>, only: Option<&[String]>) -> Result<Fields<'a>, Failure> {
        let wanted = self
            .columns
            .iter()
            .filter(|(column, _)| only.is_none_or(|only| only.contains(column)));
        wanted
            .map(|(column, expression)| Ok((Cow::Owned(column.clone()), evaluate(event, data, expression)?)))
            .collect()
    }
}

/// Every field of the data. A key that the data lacks is taken from the attribute of its name: a tombstone has no data, but
/// a subject.
fn fields_of<'a>(event: &'a Event, data: &'a Data<'_>, delete: bool, key: &[String]) -> Result<Fields<'a>, Failure> {
    let object: Object<'_> = match data.json() {
        Some(json) => {
            serde_json::from_str(json).map_err(|_| Failure::permanent("SQL_NOT_AN_OBJECT", "the event's data is JSON, but no object"))?
        }
        None if delete => Object::new(),
        None => {
            return Err(Failure::permanent(
                "SQL_NOT_JSON",
                "the event has no JSON data; name the columns in sink.columns to use attributes",
            ));
        }
    };
    let mut fields: Fields<'_> = object.into_iter().map(|(name, raw)| (name, Input::Json(raw))).collect();
    for key in key {
        if let Entry::Vacant(slot) = fields.entry(Cow::Owned(key.clone()))
            && let Some(value) = attribute(event, key)
        {
            slot.insert(value);
        }
    }
    Ok(fields)
}

/// An envelope with `before`, `after` and `op`: one change, or two when the key has changed.
fn changed<'a>(data: &'a Data<'_>, key: &[String], truncate: bool) -> Result<Vec<Change<'a>>, Failure> {
    let wrong = |what: &str| Failure::permanent("SQL_NOT_A_CHANGE", format!("the event's data is no change of a row: {what}"));
    let object = |raw: &'a RawValue| serde_json::from_str::<Option<Object<'a>>>(raw.get());
    let json = data.json().ok_or_else(|| wrong("it is not JSON"))?;
    let mut envelope: Object<'_> = serde_json::from_str(json).map_err(|_| wrong("it is no object"))?;
    let mut schema = None;
    if let Some(payload) = envelope.get("payload").filter(|_| !envelope.contains_key("op")) {
        let given = envelope
            .get("schema")
            .map(|schema| serde_json::from_str::<Option<Schema>>(schema.get()));
        schema = given.transpose().map_err(|_| wrong("its schema can't be read"))?.flatten();
        envelope = object(payload).ok().flatten().ok_or_else(|| wrong("payload is no object"))?;
    }
    let op: &str = envelope
        .get("op")
        .and_then(|op| serde_json::from_str(op.get()).ok())
        .ok_or_else(|| wrong("it has no op"))?;
    let row = |name: &str| -> Result<Option<Fields<'a>>, Failure> {
        let Some(raw) = envelope.get(name) else { return Ok(None) };
        let row = object(raw).map_err(|_| wrong(&format!("{name} is no object")))?;
        let types = schema.as_ref().and_then(|schema| schema.of(name));
        let field = |(name, raw): (Cow<'a, str>, &'a RawValue)| match types.and_then(|types| types.of(&name)) {
            None => Ok((name, Input::Json(raw))),
            Some(ty) => match ty.input(raw) {
                Ok(input) => Ok((name, input)),
                Err(why) => Err(Failure::permanent("SQL_VALUE", format!("the value of `{name}` {why}"))),
            },
        };
        row.map(|row| row.into_iter().map(field).collect()).transpose()
    };
    let (before, after) = (row("before")?, row("after")?);
    let put = |fields| Change {
        operation: Operation::Put,
        fields,
    };
    let delete = |fields| Change {
        operation: Operation::Delete,
        fields,
    };
    match (op, before, after) {
        ("c" | "r", _, Some(after)) => Ok(vec![put(after)]),
        ("u", Some(before), Some(after)) if !same(&before, &after, key) => Ok(vec![delete(before), put(after)]),
        ("u", _, Some(after)) => Ok(vec![put(after)]),
        ("d", Some(before), _) => Ok(vec![delete(before)]),
        ("d", None, _) => Err(wrong("a delete has no before; let the source write the whole row")),
        ("c" | "r" | "u", ..) => Err(wrong("it has no after")),
        // Messages of a log that change no row.
        ("m", ..) => Ok(Vec::new()),
        ("t", ..) if truncate => Ok(vec![Change {
            operation: Operation::Truncate,
            fields: Fields::new(),
        }]),
        ("t", ..) => Err(wrong("it is a truncate; set sink.truncate, or do it by hand where it is meant")),
        _ => Err(wrong("its op is none of c, r, u, d")),
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
        .all(|name| !before.contains_key(name.as_str()) || text(before, name) == text(after, name))
}

/// What an expression of the configuration says of an event.
pub(crate) fn evaluate<'a>(event: &'a Event, data: &'a Data<'_>, expression: &str) -> Result<Input<'a>, Failure> {
    if expression == "data" {
        return Ok(whole(event, data));
    }
    let Some(path) = expression.strip_prefix("data.") else {
        return Ok(attribute(event, expression).unwrap_or(Input::Null));
    };
    let Some(json) = data.json() else {
        return Ok(Input::Null);
    };
    let mut current: &RawValue =
        serde_json::from_str(json).map_err(|_| Failure::permanent("SQL_NOT_JSON", "the event's data can't be read as JSON"))?;
    for name in path.split('.') {
        // A path through something that is no object leads nowhere: null, as for an absent field.
        let Ok(fields) = serde_json::from_str::<Object<'_>>(current.get()) else {
            return Ok(Input::Null);
        };
        match fields.get(name) {
            Some(next) => current = next,
            None => return Ok(Input::Null),
        }
    }
    Ok(Input::Json(current))
}

/// The whole data: JSON, text, or bytes.
fn whole<'a>(event: &'a Event, data: &'a Data<'_>) -> Input<'a> {
    if let Some(Ok(raw)) = data.0.as_deref().map(serde_json::from_str) {
        return Input::Json(raw);
    }
    payload::bytes(event).map_or(Input::Null, Input::Bytes)
}

fn attribute<'a>(event: &'a Event, name: &str) -> Option<Input<'a>> {
    let text = |text: &'a str| Some(Input::Text(Cow::Borrowed(text)));
    match name {
        "id" => text(event.id()),
        "source" => text(event.source()),
        "type" => text(event.ty()),
        "subject" => text(event.subject()?),
        "datacontenttype" => text(event.datacontenttype()?),
        "dataschema" => text(event.dataschema()?.as_str()),
        "time" => Some(Input::Text(Cow::Owned(event.time()?.to_rfc3339()))),
        name => Some(match event.extension(name)? {
            ExtensionValue::String(value) => Input::Text(Cow::Borrowed(value)),
            ExtensionValue::Boolean(value) => Input::Bool(*value),
            ExtensionValue::Integer(value) => Input::Integer(*value),
        }),
    }
}
