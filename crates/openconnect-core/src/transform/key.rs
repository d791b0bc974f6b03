//! An event's ordering key.

use std::borrow::Cow;
use std::collections::BTreeMap;

use cloudevents::{AttributesReader, Event};
use openconnect_protocol::payload;
use serde_json::value::RawValue;

use crate::error::{Error, Result};

/// An event's ordering key: a path such as `.partitionkey`, `.subject` or `.data.order.id`.
#[derive(Debug)]
pub struct KeyExpression {
    path: Vec<String>,
}

impl KeyExpression {
    /// Compiles `delivery.key`; `None` means `.partitionkey`.
    pub fn compile(expression: Option<&str>) -> Result<Self> {
        let text = expression.unwrap_or(".partitionkey").trim();
        let path: Vec<String> = text.strip_prefix('.').unwrap_or_default().split('.').map(str::to_owned).collect();
        let plain = |name: &String| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        if !path.iter().all(plain) || (path.len() > 1 && path.first().is_none_or(|first| first != "data")) {
            return Err(Error::config("OC0122", format!("delivery.key: `{text}` is no path"))
                .hint("Write .partitionkey, .subject, another attribute, or .data.field.field."));
        }
        Ok(Self { path })
    }

    /// The key, or `None` when the event has none (it is then unordered).
    pub fn key(&self, event: &Event) -> Option<String> {
        let (first, rest) = self.path.split_first()?;
        match first.as_str() {
            "id" => Some(event.id().to_owned()),
            "source" => Some(event.source().clone()),
            "type" => Some(event.ty().to_owned()),
            "subject" => event.subject().map(str::to_owned),
            "data" => from_data(event, rest),
            name => event.extension(name).map(ToString::to_string),
        }
    }
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
        let key = |text: &str| KeyExpression::compile(Some(text)).unwrap().key(&event);
        assert_eq!(KeyExpression::compile(None).unwrap().key(&event).as_deref(), Some("p"));
        assert_eq!(key(".type").as_deref(), Some("t"));
        assert_eq!(key(".data.order.id").as_deref(), Some("18446744073709551617"));
        assert_eq!(key(".data.order.name").as_deref(), Some("n"));
        assert_eq!(key(".data.none"), None);
        assert_eq!(key(".subject"), None);
        for wrong in ["partitionkey", ".a.b", ".", ".data | keys"] {
            assert_eq!(KeyExpression::compile(Some(wrong)).unwrap_err().code, "OC0122", "{wrong}");
        }
    }
}
