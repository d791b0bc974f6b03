//! jq programs on events, run by jaq, and bounded.
//!
//! `program.rs`: one program. `meter.rs`: what it may use, and how it is stopped. `value.rs`, `json.rs`: the values that it
//! works on. `natives.rs`, `regex.rs`, `defs.jq`: the functions it can call. `instrument.rs`: what is added to its text.
//!
//! A program that uses too much, fails, or panics has failed for that event alone. Nothing of it is left behind.

use cloudevents::Event;
use openconnect_protocol::{EventError, json as structured};

use openconnect_error::Failure;
use openconnect_error::Result;

mod instrument;
mod json;
mod meter;
mod natives;
mod program;
mod regex;
mod value;

pub(super) use meter::{COMPILE_STACK, THREAD_STACK};
use program::{Outputs, Program, reason, without_data};
use value::{Kind, Value};

use crate::codes;

/// Runs a program on the event as JSON.
fn run<T>(
    program: &Program,
    event: &Event,
    read: impl FnOnce(&Value, Outputs<'_>) -> std::result::Result<T, String>,
) -> std::result::Result<T, Failure> {
    let text = String::from_utf8(structured::encode(event)).map_err(|e| Failure::permanent(codes::PROGRAM_FAILED, e.to_string()))?;
    program.run(&text, read)
}

/// `jq:` the event that comes out replaces the one that goes in.
pub(super) struct Map(Program);

impl Map {
    pub(super) fn compile(place: &str, text: &str) -> Result<Self> {
        Program::compile(place, text).map(Self)
    }

    pub(super) fn apply(&self, event: &Event) -> std::result::Result<Option<Event>, Failure> {
        let result = run(&self.0, event, |input, outputs| {
            let Some(output) = outputs.next() else { return Ok(None) };
            let output = output.map_err(|error| reason(&error))?;
            if outputs.next().is_some() {
                return Err("it gave more than one event".to_owned());
            }
            let same = ["data", "data_base64"]
                .iter()
                .all(|name| match (input.field(name), output.field(name)) {
                    (Some(was), Some(is)) => was.same(is),
                    (was, is) => was.is_none() && is.is_none(),
                });
            Ok(Some((output.to_string(), same)))
        })?;
        let Some((text, same)) = result else { return Ok(None) };
        let invalid = |e: EventError| {
            let reason = without_data(&e.to_string());
            Failure::permanent(codes::PROGRAM_FAILED, format!("the jq program's result is no event: {reason}"))
        };
        let mut changed = structured::decode(text.as_bytes()).map_err(invalid)?;
        // Data that is the same stays the text that it was.
        if same && let Some(data) = event.data() {
            changed.set_data_unchecked(data.clone());
        }
        Ok(Some(changed))
    }
}

/// `filter:` the event goes on unchanged, or not.
pub(super) struct Filter(Program);

impl Filter {
    pub(super) fn compile(place: &str, text: &str) -> Result<Self> {
        Program::compile(place, text).map(Self)
    }

    pub(super) fn passes(&self, event: &Event) -> std::result::Result<bool, Failure> {
        run(&self.0, event, |_, outputs| match outputs.next() {
            None => Ok(false),
            Some(Ok(value)) => Ok(jaq_core::ValT::as_bool(&value)),
            Some(Err(error)) => Err(reason(&error)),
        })
    }
}

/// `delivery.key:` an event's key, where it is more than a path.
pub(super) struct Key(Program);

impl Key {
    pub(super) fn compile(place: &str, text: &str) -> Result<Self> {
        Program::compile(place, text).map(Self)
    }

    /// A text as it is, anything else as JSON; `null` and nothing are no key.
    pub(super) fn key(&self, event: &Event) -> std::result::Result<Option<String>, Failure> {
        run(&self.0, event, |_, outputs| match outputs.next() {
            None => Ok(None),
            Some(Ok(value)) => Ok(match &value.kind {
                Kind::Null => None,
                Kind::Text(text) => Some(text.to_string()),
                _ => Some(value.to_string()),
            }),
            Some(Err(error)) => Err(reason(&error)),
        })
    }
}

#[cfg(test)]
mod tests;
