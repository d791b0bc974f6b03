//! An event to what is to be done: fields by name, to be put or deleted. Nothing is read out of JSON that is not needed, and
//! numbers stay the text that they were.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;

use openconnect_change::{ByName, Fields, Input, Op, ReadError, read};
use openconnect_core::Failure;
use openconnect_core::cloudevents::event::ExtensionValue;
use openconnect_core::cloudevents::{AttributesReader, Event};
use openconnect_protocol::payload;
use openconnect_sql::codes::SQL_VALUE;
use serde_json::value::RawValue;

use crate::codes;
use crate::config::{Format, JdbcSinkConfig};

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

type Object<'a> = ByName<'a, &'a RawValue>;

/// Reads events as the configuration says.
pub(crate) struct Reader {
    columns: BTreeMap<String, String>,
    format: Format,
    delete_on_null: bool,
    delete_types: Vec<String>,
    truncate: bool,
}

/// The event's data while it is read: text that is meant as JSON.
pub(crate) struct Data<'a>(Option<Cow<'a, str>>);

impl<'a> Data<'a> {
    pub(crate) fn of(event: &'a Event) -> Self {
        Self(payload::json_text(event))
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
    pub(crate) fn changes<'a>(&'a self, event: &'a Event, data: &'a Data<'_>, key: &'a [String]) -> Result<Vec<Change<'a>>, Failure> {
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

/// What expressions of the configuration say of an event. Its data is taken apart once, when the first asks for it.
pub(crate) struct Expressions<'a> {
    event: &'a Event,
    data: &'a Data<'a>,
    top: OnceCell<Option<Object<'a>>>,
}

impl<'a> Expressions<'a> {
    pub(crate) fn new(event: &'a Event, data: &'a Data<'_>) -> Self {
        Self {
            event,
            data,
            top: OnceCell::new(),
        }
    }

    /// A path through something that is no object leads nowhere: null, as for an absent field.
    pub(crate) fn value(&self, expression: &str) -> Result<Input<'a>, Failure> {
        if expression == "data" {
            return Ok(whole(self.event, self.data));
        }
        let Some(path) = expression.strip_prefix("data.") else {
            return Ok(attribute(self.event, expression).unwrap_or(Input::Null));
        };
        let mut names = path.split('.');
        let mut found = names.next().and_then(|name| self.top()?.get(name).copied());
        for name in names {
            let Some(raw) = found else { break };
            found = serde_json::from_str::<Object<'_>>(raw.get())
                .ok()
                .and_then(|fields| fields.get(name).copied());
        }
        match found {
            Some(raw) => Ok(Input::Json(raw)),
            None if self.top().is_none() && !self.is_json() => Err(not_json()),
            None => Ok(Input::Null),
        }
    }

    fn top(&self) -> Option<&Object<'a>> {
        self.top.get_or_init(|| serde_json::from_str(self.data.json()?).ok()).as_ref()
    }

    /// Is the data JSON, or is there none?
    fn is_json(&self) -> bool {
        match self.data.0.as_deref() {
            Some(json) => payload::valid_json(json),
            None => self.event.data().is_none(),
        }
    }
}

fn not_json() -> Failure {
    Failure::permanent(codes::SQL_NOT_JSON, "the event's data can't be read as JSON")
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use openconnect_core::Code;
    use openconnect_core::cloudevents::{EventBuilder as _, EventBuilderV10};

    use super::*;

    fn value(json: &str, expression: &str) -> Result<Option<String>, Code> {
        let event = EventBuilderV10::new().id("7").source("/s").ty("t");
        let event = event.data("application/json", json.to_owned()).build().unwrap();
        let data = Data::of(&event);
        match Expressions::new(&event, &data).value(expression) {
            Ok(Input::Json(raw)) => Ok(Some(raw.get().to_owned())),
            Ok(Input::Text(text)) => Ok(Some(text.into_owned())),
            Ok(_) => Ok(None),
            Err(failure) => Err(failure.code),
        }
    }

    #[test]
    fn a_path_leads_to_a_value_or_nowhere() {
        let json = r#"{ "a": { "b": 1.50, "c": { "d": [null] } }, "e": 1, "e": 2 }"#;
        for (expression, expected) in [
            ("id", Some("7")),
            ("data", Some(json)),
            ("data.a.b", Some("1.50")),
            ("data.a.c.d", Some("[null]")),
            ("data.e", Some("2")),
            ("data.e.f", None),
            ("data.x", None),
            ("data.a.x.y", None),
            ("nothing", None),
        ] {
            assert_eq!(value(json, expression), Ok(expected.map(str::to_owned)), "{expression}");
        }
        assert_eq!(value("[1]", "data.a"), Ok(None));
        assert_eq!(value("null", "data.a"), Ok(None));
        assert_eq!(value("{ broken", "data.a"), Err(codes::SQL_NOT_JSON));
    }
}
