//! An event as the mesh carries it in JSON.
//!
//! EventMesh 1.x routes by `subject`, delivers over TCP only what has the content type `application/cloudevents+json`,
//! demands data, and parses and prints that data again (decimals as doubles). So the event's own subject and content type
//! travel in the extensions `ocsubject` and `occontenttype`, and `ocencoding` says how the data was put into the member
//! `data`:
//!
//! | `ocencoding` | `data` |
//! |---|---|
//! | `json` | the JSON value itself, where the server prints every number as it was |
//! | `text` | a string with the text: texts, and JSON with numbers that a double would change |
//! | `base64` | a string with the bytes in base64 |
//! | `none` | `null`: the event has no data |
//!
//! An event without `ocencoding` comes from another client and is taken as it is.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cloudevents::event::Data;
use cloudevents::{AttributesReader, Event};
use serde::Deserialize;

use crate::attributes::{self, CONTENT_TYPE, ENCODING, ESCAPE, SUBJECT};
use crate::json::Object;
use crate::members::{WireMembers, decode_base64, parse};
use crate::{EventError, payload};

/// The only content type that EventMesh 1.x delivers from TCP to TCP.
pub const MESH_CONTENT_TYPE: &str = "application/cloudevents+json";

/// The event for `topic`.
pub fn encode(event: &Event, topic: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(640);
    encode_into(event, topic, &[], &mut out);
    out
}

/// Appends the event for `topic`, with more text extensions that are the mesh's (`ttl`, `uniqueid`, …).
pub fn encode_into(event: &Event, topic: &str, mesh: &[(&str, &str)], out: &mut Vec<u8>) {
    let mut object = Object::open(event, Some(MESH_CONTENT_TYPE), Some(topic), out);
    if let Some(subject) = event.subject() {
        object.text(SUBJECT, subject);
    }
    if let Some(content_type) = event.datacontenttype() {
        object.text(CONTENT_TYPE, content_type);
    }
    for (name, value) in event.iter_extensions() {
        object.extension(&escape(name), value);
    }
    for (name, value) in mesh {
        object.text(name, value);
    }
    encode_data(event, &mut object);
    object.close();
}

fn encode_data(event: &Event, object: &mut Object<'_>) {
    let Some(data) = event.data() else {
        object.raw(ENCODING, "\"none\"");
        object.raw("data", "null");
        return;
    };
    let is_json = matches!(data, Data::Json(_)) || payload::is_json(event.datacontenttype());
    let bytes = payload::data_bytes(data);
    match std::str::from_utf8(&bytes) {
        Ok(text) if is_json && numbers_survive(text) && payload::valid_json(text) => {
            object.raw(ENCODING, "\"json\"");
            object.raw("data", text);
        }
        Ok(text) if is_json || payload::is_text(event.datacontenttype()) => {
            object.raw(ENCODING, "\"text\"");
            object.text("data", text);
        }
        _ => {
            object.raw(ENCODING, "\"base64\"");
            object.text("data", &BASE64.encode(&bytes));
        }
    }
}

fn escape(name: &str) -> Cow<'_, str> {
    let taken = attributes::is_mesh(name) || name.strip_prefix(ESCAPE).is_some_and(|rest| !rest.is_empty());
    if taken {
        Cow::Owned(format!("{ESCAPE}{name}"))
    } else {
        Cow::Borrowed(name)
    }
}

/// Does every number in this JSON text come out of a parser that keeps integers exactly and decimals as doubles as it
/// went in? The server prints doubles in Java's shortest form, with an exponent outside 10⁻³ … 10⁷.
fn numbers_survive(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = skip_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let start = at;
                while at < bytes.len() && matches!(bytes[at], b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') {
                    at += 1;
                }
                if !number_survives(&text[start..at]) {
                    return false;
                }
            }
            _ => at += 1,
        }
    }
    true
}

fn skip_string(bytes: &[u8], quote: usize) -> usize {
    let mut at = quote + 1;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        if bytes[at - 1] == b'"' {
            return at;
        }
        // What is escaped.
        at += 1;
    }
    bytes.len()
}

fn number_survives(number: &str) -> bool {
    if number.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        return number != "-0";
    }
    let Ok(value) = number.parse::<f64>() else {
        return false;
    };
    let plain = (1e-3..1e7).contains(&value.abs());
    plain && format!("{value:?}") == number
}

/// Reads an event that came from the mesh: the event's own subject, content type and data are put back, what the mesh
/// added is stripped.
pub fn decode(bytes: &[u8]) -> Result<Event, EventError> {
    let WireMembers(mut members) = parse(bytes)?;
    let envelope = std::mem::take(&mut members.envelope);
    for (name, _) in &mut members.extensions {
        if let Some(own) = name
            .strip_prefix(ESCAPE)
            .filter(|own| attributes::is_mesh(own) || own.starts_with(ESCAPE))
        {
            *name = Cow::Owned(own.to_owned());
        }
    }
    let Some(encoding) = envelope.encoding else {
        members.subject = envelope.subject;
        return members.into_event();
    };
    let data = match (&*encoding, members.data.take()) {
        ("none", _) => None,
        ("json", Some(raw)) => Some(Data::String(raw.get().to_owned())),
        ("text", Some(raw)) => Some(Data::String(serde_json::from_str(raw.get())?)),
        ("base64", Some(raw)) => Some(decode_base64(&serde_json::from_str::<Cow<'_, str>>(raw.get())?)?),
        (_, None) => {
            return Err(EventError::Data("`ocencoding` is there, but no `data`".into()));
        }
        _ => {
            return Err(EventError::invalid(ENCODING, "expected `json`, `text`, `base64` or `none`"));
        }
    };
    members.build(
        envelope.subject.map(Cow::into_owned),
        envelope.content_type.map(Cow::into_owned),
        data,
    )
}

/// What a server must know of an event to route it, borrowed from its bytes. Of members that are there twice, as EventMesh's
/// Java connectors send them, the last counts.
#[derive(Debug, Default)]
pub struct Peek<'a> {
    /// The event's id.
    pub id: Cow<'a, str>,
    /// Its source.
    pub source: Cow<'a, str>,
    /// Its type.
    pub ty: Cow<'a, str>,
    /// The topic.
    pub subject: Cow<'a, str>,
    /// The ordering key; a number or a boolean as its text.
    pub partitionkey: Option<Cow<'a, str>>,
    /// Request's time limit in milliseconds, as text or number.
    pub ttl: Option<serde_json::Value>,
    /// Where a replier sends its answer.
    pub cluster: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Member {
    Id,
    Source,
    Type,
    Subject,
    PartitionKey,
    Ttl,
    Cluster,
    #[serde(other)]
    Other,
}

/// A text; `null` is as good as absent.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn text<'de, A: serde::de::MapAccess<'de>>(members: &mut A) -> Result<Cow<'de, str>, A::Error> {
    Ok(members.next_value::<Option<Text<'de>>>()?.map_or(Cow::Borrowed(""), |text| text.0))
}

#[derive(Deserialize)]
struct Scalar<'a>(#[serde(borrow, deserialize_with = "scalar")] Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Peek<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Peek<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                let mut peek = Peek::default();
                while let Some(member) = members.next_key()? {
                    match member {
                        Member::Id => peek.id = text(&mut members)?,
                        Member::Source => peek.source = text(&mut members)?,
                        Member::Type => peek.ty = text(&mut members)?,
                        Member::Subject => peek.subject = text(&mut members)?,
                        Member::PartitionKey => peek.partitionkey = members.next_value::<Scalar<'de>>()?.0,
                        Member::Ttl => peek.ttl = members.next_value()?,
                        Member::Cluster => peek.cluster = members.next_value::<Scalar<'de>>()?.0,
                        Member::Other => {
                            members.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(peek)
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

/// An extension may be a text, a number or a boolean.
fn scalar<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    let Some(raw) = Option::<&'de serde_json::value::RawValue>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let text = raw.get();
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        None => Ok(Some(Cow::Borrowed(text))),
        Some(inner) if !inner.contains('\\') => Ok(Some(Cow::Borrowed(inner))),
        Some(_) => serde_json::from_str(text)
            .map(|text: String| Some(Cow::Owned(text)))
            .map_err(serde::de::Error::custom),
    }
}

/// Looks at an event without building it. Checks that it is JSON, no more.
pub fn peek(bytes: &[u8]) -> Result<Peek<'_>, EventError> {
    Ok(serde_json::from_slice(bytes)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_that_a_double_changes_travel_as_text() {
        for unchanged in ["1", "-12345678901234567890", "1.5", "0.1", r#"{"a":[1,2.25,"1e3"]}"#, "true"] {
            assert!(numbers_survive(unchanged), "{unchanged}");
        }
        for changed in [
            "1.50",
            "1e3",
            "0.1000000000000000055",
            "-0",
            "12345678.5",
            "1.0E2",
            r#"{"a":0.00001}"#,
        ] {
            assert!(!numbers_survive(changed), "{changed}");
        }
    }

    #[test]
    fn of_a_member_that_is_there_twice_the_last_counts() {
        let raw = br#"{"specversion":"1.0","id":"1","id":"2","source":"/s","type":"t","subject":"x","partitionkey":7,"subject":"y"}"#;
        let peek = peek(raw).unwrap();
        assert_eq!((&*peek.id, &*peek.subject, peek.partitionkey.as_deref()), ("2", "y", Some("7")));
        assert_eq!(decode(raw).unwrap().id(), "2");
    }

    #[test]
    fn a_foreign_event_keeps_its_content_type_and_loses_the_topic() {
        let raw = br#"{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"application/cloudevents+json",
            "subject":"topic","ttl":"4000","rsp0ip":"127.0.0.1","mine":7,"data":{"n": 1.50}}"#;
        let event = decode(raw).unwrap();
        assert_eq!(event.subject(), None);
        assert_eq!(event.datacontenttype(), Some(MESH_CONTENT_TYPE));
        assert_eq!(payload::json(&event).unwrap(), r#"{"n": 1.50}"#);
        assert_eq!(event.iter_extensions().count(), 1);
    }
}
