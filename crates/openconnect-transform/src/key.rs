//! An event's ordering key.

use std::borrow::Cow;
use std::collections::BTreeMap;

use cloudevents::{AttributesReader, Event};
use openconnect_protocol::payload;
use serde_json::value::RawValue;

use super::{jq, worker};
use openconnect_error::Failure;
use openconnect_error::{Error, Result};

use crate::codes;

/// An event's ordering key: a path such as `.partitionkey`, `.subject` or `.data.order.id`, or any other jq program.
pub struct KeyExpression(Expression);

enum Expression {
    /// Found without a program: an attribute, or fields below `data`.
    Path(Vec<String>),
    Program(jq::Key),
}

impl KeyExpression {
    /// Compiles `delivery.key`; `None` means `.partitionkey`.
    pub fn compile(expression: Option<&str>) -> Result<Self> {
        let text = expression.unwrap_or(".partitionkey").trim();
        if let Some(path) = path(text) {
            return Ok(Self(Expression::Path(path)));
        }
        let program = worker::with_stack(|| jq::Key::compile("delivery.key", text));
        let program = program.map_err(|error| {
            Error::config(codes::KEY_INVALID, error.reason())
                .hint("Write .partitionkey, .subject, another attribute, .data.field, or a jq program over the event.")
        })?;
        Ok(Self(Expression::Program(program)))
    }

    /// Must it run on the programs' thread?
    pub(super) fn is_program(&self) -> bool {
        matches!(self.0, Expression::Program(_))
    }

    /// The key, or `None` when the event has none (it is then unordered).
    pub(super) fn key(&self, event: &Event) -> std::result::Result<Option<String>, Failure> {
        let path = match &self.0 {
            Expression::Path(path) => path,
            Expression::Program(program) => {
                return program
                    .key(event)
                    .map_err(|failure| Failure::permanent(codes::KEY_NOT_FOUND, format!("delivery.key: {}", failure.reason())));
            }
        };
        Ok(path.split_first().and_then(|(first, rest)| match first.as_str() {
            "id" => Some(event.id().to_owned()),
            "source" => Some(event.source().clone()),
            "type" => Some(event.ty().to_owned()),
            "subject" => event.subject().map(str::to_owned),
            "data" => from_data(event, rest),
            name => event.extension(name).map(ToString::to_string),
        }))
    }
}

/// The names of a plain path: one attribute, or `data` and fields.
fn path(text: &str) -> Option<Vec<String>> {
    let path: Vec<&str> = text.strip_prefix('.')?.split('.').collect();
    let plain = |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    let reaches = path.len() == 1 || path.first() == Some(&"data");
    (reaches && path.iter().all(plain)).then(|| path.into_iter().map(str::to_owned).collect())
}

fn from_data(event: &Event, path: &[String]) -> Option<String> {
    let json = payload::json(event)?;
    let mut current: &RawValue = serde_json::from_str(&json).ok()?;
    for name in path {
        current = serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(current.get())
            .ok()?
            .remove(name.as_str())?;
    }
    match current.get() {
        "null" => None,
        text if text.starts_with('"') => serde_json::from_str(text).ok(),
        text => Some(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use cloudevents::{EventBuilder, EventBuilderV10};

    #[test]
    fn a_key_is_an_attribute_or_a_field() {
        let event = EventBuilderV10::new()
            .id("1")
            .source("/s")
            .ty("t")
            .extension("partitionkey", "p")
            .data(
                "application/json",
                "{\"order\":{\"id\":18446744073709551617,\"name\":\"n\"}}".to_owned(),
            )
            .build()
            .unwrap();
        let key = |text: &str| KeyExpression::compile(Some(text)).unwrap().key(&event).unwrap();
        assert_eq!(KeyExpression::compile(None).unwrap().key(&event).unwrap().as_deref(), Some("p"));
        assert_eq!(key(".type").as_deref(), Some("t"));
        assert_eq!(key(".data.order.id").as_deref(), Some("18446744073709551617"));
        assert_eq!(key(".data.order.name").as_deref(), Some("n"));
        assert_eq!(key(".data.none"), None);
        assert_eq!(key(".subject"), None);
        for (text, program) in [
            (".partitionkey", false),
            (".data.a-b.c", false),
            (".a.b", true),
            (".", true),
            (".data | keys", true),
        ] {
            assert_eq!(KeyExpression::compile(Some(text)).unwrap().is_program(), program, "{text}");
        }
        for wrong in ["partitionkey", "", ".data |", "env.KEY"] {
            assert_eq!(KeyExpression::compile(Some(wrong)).err().unwrap().code, "OC0122", "{wrong}");
        }
    }
}
