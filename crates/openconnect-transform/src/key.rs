//! An event's ordering key.

use cloudevents::{AttributesReader, Event};
use openconnect_protocol::payload;

use super::raw_json::{self, Members};
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
        let Some((first, rest)) = path.split_first() else {
            return Ok(None);
        };
        Ok(match first.as_str() {
            "id" => Some(event.id().to_owned()),
            "source" => Some(event.source().clone()),
            "type" => Some(event.ty().to_owned()),
            "subject" => event.subject().map(str::to_owned),
            "time" => event.time().map(chrono::DateTime::to_rfc3339),
            "datacontenttype" => event.datacontenttype().map(str::to_owned),
            "dataschema" => event.dataschema().map(ToString::to_string),
            "data" => return from_data(event, rest),
            name => event.extension(name).map(ToString::to_string),
        })
    }
}

/// The names of a plain path: one attribute, or `data` and fields.
fn path(text: &str) -> Option<Vec<String>> {
    let path: Vec<&str> = text.strip_prefix('.')?.split('.').collect();
    let plain = |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    let reaches = path.len() == 1 || path.first() == Some(&"data");
    (reaches && path.iter().all(plain)).then(|| path.into_iter().map(str::to_owned).collect())
}

/// The value of a field: a text, or as JSON writes it.
fn from_data(event: &Event, path: &[String]) -> std::result::Result<Option<String>, Failure> {
    let Some(json) = payload::json(event) else {
        return Ok(None);
    };
    let mut current: &str = &json;
    for name in path {
        let Some(Members::Object(fields)) = raw_json::members(current) else {
            return Ok(None);
        };
        let Some(place) = fields.get(name.as_bytes()) else {
            return Ok(None);
        };
        current = &current[place.clone()];
    }
    match current.trim() {
        "null" => Ok(None),
        text if text.starts_with('"') => raw_json::string(text).map(Some).ok_or_else(|| {
            Failure::permanent(
                codes::KEY_NOT_FOUND,
                format!("delivery.key: the text at data.{} holds half of a surrogate pair", path.join(".")),
            )
        }),
        text => Ok(Some(text.to_owned())),
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
        assert_eq!(key(".time"), None);
        assert_eq!(key(".datacontenttype").as_deref(), Some("application/json"));
        let odd = EventBuilderV10::new().id("1").source("/s").ty("t");
        let odd = odd
            .data("application/json", "{\"\\ud800\":1,\"k\":\"a\",\"odd\":\"\\ud800\"}".to_owned())
            .build()
            .unwrap();
        let key_of = |text: &str| KeyExpression::compile(Some(text)).unwrap().key(&odd);
        assert_eq!(key_of(".data.k").unwrap().as_deref(), Some("a"));
        assert_eq!(key_of(".data.odd").unwrap_err().code, codes::KEY_NOT_FOUND);
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
