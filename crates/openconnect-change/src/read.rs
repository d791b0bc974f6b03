//! A change that is read: our format, and Debezium's with and without a schema. All have `op`, `before` and `after`.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::by_name::ByName;
use crate::change::Op;
use crate::debezium::FieldSchema;
use crate::input::Input;

/// Fields of a row by their names.
pub type Fields<'a> = ByName<'a, Input<'a>>;

type Object<'a> = ByName<'a, &'a RawValue>;

/// A change that was read. It borrows from the event's JSON; a field's value is read when it is needed.
#[derive(Debug)]
pub struct ReadChange<'a> {
    /// What happened.
    pub op: Op,
    /// The row before the change, where the event has it.
    pub before: Option<Fields<'a>>,
    /// The row after the change.
    pub after: Option<Fields<'a>>,
    /// Where it comes from, in the terms of its system.
    pub source: Option<&'a RawValue>,
    /// Its place in its transaction.
    pub transaction: Option<&'a RawValue>,
}

/// Why an event is not a change that can be read. It names fields, never values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// The event has not the form of a change.
    NotAChange(Cow<'static, str>),
    /// A field's value is not what its schema says.
    Value {
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Reads a change.
///
/// # Errors
///
/// [`ReadError::NotAChange`] where an envelope with `op`, `before` and `after` is not there, [`ReadError::Value`] where a value
/// does not fit Debezium's schema.
pub fn read(json: &str) -> Result<ReadChange<'_>, ReadError> {
    let mut envelope: Object<'_> = serde_json::from_str(json).map_err(|_| not_a_change("it is no object"))?;
    let mut schema = None;
    if let Some(payload) = envelope.get("payload").filter(|_| !envelope.contains("op")) {
        let given = envelope
            .get("schema")
            .map(|schema| serde_json::from_str::<Option<FieldSchema>>(schema.get()));
        schema = given.transpose().map_err(|_| not_a_change("its schema can't be read"))?.flatten();
        envelope = object(payload).ok().flatten().ok_or_else(|| not_a_change("payload is no object"))?;
    }
    let letter: &str = envelope
        .get("op")
        .and_then(|op| serde_json::from_str(op.get()).ok())
        .ok_or_else(|| not_a_change("it has no op"))?;
    let op = Op::parse(letter).ok_or_else(|| not_a_change("its op is none of c, r, u, d"))?;
    let row = |name: &'static str| row(&envelope, schema.as_ref(), name);
    Ok(ReadChange {
        op,
        before: row("before")?,
        after: row("after")?,
        source: envelope.get("source").copied(),
        transaction: envelope.get("transaction").copied().filter(|raw| raw.get() != "null"),
    })
}

fn row<'a>(envelope: &Object<'a>, schema: Option<&FieldSchema>, name: &'static str) -> Result<Option<Fields<'a>>, ReadError> {
    let Some(raw) = envelope.get(name) else { return Ok(None) };
    let row = object(raw).map_err(|_| not_a_change(format!("{name} is no object")))?;
    let types = schema.and_then(|schema| schema.of(name));
    let input = |field: &str, raw: &'a RawValue| match types.and_then(|types| types.of(field)) {
        None => Ok(Input::Json(raw)),
        Some(ty) => ty.input(raw).map_err(|reason| ReadError::Value {
            field: field.to_owned(),
            reason,
        }),
    };
    row.map(|row| row.map(input)).transpose()
}

/// An object, or none for `null`.
fn object(raw: &RawValue) -> serde_json::Result<Option<Object<'_>>> {
    serde_json::from_str(raw.get())
}

fn not_a_change(what: impl Into<Cow<'static, str>>) -> ReadError {
    ReadError::NotAChange(what.into())
}
