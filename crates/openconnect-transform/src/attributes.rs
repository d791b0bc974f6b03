//! `set`, `rename` and `drop`: attributes, without a look at the data.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cloudevents::{AttributesReader, AttributesWriter, Event};
use openconnect_protocol::attributes::is_acceptable;

use crate::codes;
use crate::template::Template;
use openconnect_error::Failure;
use openconnect_error::{Error, Result};

fn wrong(place: &str, name: &str, what: &str) -> Error {
    Error::config(codes::ATTRIBUTE_REFUSED, format!("{place}: `{name}` {what}"))
        .hint("Attributes are id, source, type, subject, time, and extensions of lower-case letters and digits; jq can change the rest.")
}

/// Sets attributes from templates.
pub(super) struct Set(Vec<(String, Template)>);

impl Set {
    pub(super) fn compile(place: &str, attributes: &BTreeMap<String, String>) -> Result<Self> {
        let compiled = attributes.iter().map(|(name, text)| {
            if !matches!(name.as_str(), "id" | "source" | "type" | "subject" | "time") && !is_acceptable(name) {
                return Err(wrong(place, name, "can't be set"));
            }
            let template = Template::compile(text).map_err(|e| wrong(place, name, &e.reason()))?;
            Ok((name.clone(), template))
        });
        Ok(Self(compiled.collect::<Result<_>>()?))
    }

    /// All templates see the event as it was before the step.
    pub(super) fn apply(&self, mut event: Event) -> std::result::Result<Event, Failure> {
        let rendered: Vec<String> = self
            .0
            .iter()
            .map(|(_, t)| t.render(&event))
            .collect::<std::result::Result<_, _>>()?;
        for ((name, _), text) in self.0.iter().zip(rendered) {
            if text.is_empty() && matches!(name.as_str(), "id" | "source" | "type") {
                return Err(Failure::permanent(codes::ATTRIBUTE_REFUSED, format!("`{name}` would be empty")));
            }
            match name.as_str() {
                "id" => drop(event.set_id(text)),
                "source" => drop(event.set_source(text)),
                "type" => drop(event.set_type(text)),
                "subject" => drop(event.set_subject((!text.is_empty()).then_some(text))),
                "time" => {
                    let time = DateTime::parse_from_rfc3339(&text)
                        .map_err(|e| Failure::permanent(codes::ATTRIBUTE_REFUSED, "`time` is no time").because(e))?;
                    event.set_time(Some(time.with_timezone(&Utc)));
                }
                name => event.set_extension(name, text),
            }
        }
        Ok(event)
    }
}

/// Gives attributes another name.
pub(super) struct Rename(Vec<(String, String)>);

impl Rename {
    pub(super) fn compile(place: &str, names: &BTreeMap<String, String>) -> Result<Self> {
        for name in names.iter().flat_map(|(from, to)| [from, to]) {
            if name != "subject" && !is_acceptable(name) {
                return Err(wrong(place, name, "can't be renamed"));
            }
        }
        Ok(Self(names.clone().into_iter().collect()))
    }

    pub(super) fn apply(&self, mut event: Event) -> Event {
        for (from, to) in &self.0 {
            let value = if from == "subject" {
                let subject = event.subject().map(str::to_owned);
                event.set_subject(None::<String>);
                subject.map(Into::into)
            } else {
                event.remove_extension(from)
            };
            match value {
                Some(value) if to == "subject" => drop(event.set_subject(Some(value.to_string()))),
                Some(value) => event.set_extension(to, value),
                None => {}
            }
        }
        event
    }
}

/// Leaves attributes out.
pub(super) struct Drop(Vec<String>);

impl Drop {
    pub(super) fn compile(place: &str, names: &[String]) -> Result<Self> {
        for name in names {
            if !matches!(name.as_str(), "subject" | "time") && !is_acceptable(name) {
                return Err(wrong(place, name, "can't be left out"));
            }
        }
        Ok(Self(names.to_vec()))
    }

    pub(super) fn apply(&self, mut event: Event) -> Event {
        for name in &self.0 {
            match name.as_str() {
                "subject" => drop(event.set_subject(None::<String>)),
                "time" => drop(event.set_time(None::<DateTime<Utc>>)),
                name => drop(event.remove_extension(name)),
            }
        }
        event
    }
}
