//! CloudEvents' JSON format (specification 1.0): one event, and batches. Data that is JSON is carried as its exact text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cloudevents::event::{Data, ExtensionValue};
use cloudevents::{AttributesReader, Event};

use crate::members::{Members, parse, time_text};
use crate::{EventError, payload};

/// About what an event's attributes take.
const ATTRIBUTES: usize = 256;

/// The event in structured form.
pub fn encode(event: &Event) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    encode_into(event, &mut out);
    out
}

/// Appends the event in structured form.
pub fn encode_into(event: &Event, out: &mut Vec<u8>) {
    let mut object = Object::open(event, event.datacontenttype(), event.subject(), out);
    for (name, value) in event.iter_extensions() {
        object.extension(name, value);
    }
    match event.data() {
        None => {}
        Some(Data::Json(value)) if !value.is_null() => object.raw("data", &value.to_string()),
        Some(data) => {
            let bytes = payload::data_bytes(data);
            let text = std::str::from_utf8(&bytes).ok();
            match text {
                // The member `data: null` says that there is no data: the JSON value `null` goes as bytes.
                Some(text) if payload::is_json(event.datacontenttype()) && text.trim() != "null" && payload::valid_json(text) => {
                    object.raw("data", text);
                }
                Some(text) if payload::is_text(event.datacontenttype()) => object.text("data", text),
                _ => object.text("data_base64", &BASE64.encode(&bytes)),
            }
        }
    }
    object.close();
}

/// The events as one JSON array (`application/cloudevents-batch+json`).
pub fn encode_batch<'a>(events: impl IntoIterator<Item = &'a Event, IntoIter: Clone>) -> Vec<u8> {
    let events = events.into_iter();
    let data = events.clone().filter_map(payload::bytes).map(|data| data.len());
    let mut out = Vec::with_capacity(data.map(|bytes| bytes + ATTRIBUTES).sum::<usize>() + 2);
    out.push(b'[');
    for event in events {
        if out.len() > 1 {
            out.push(b',');
        }
        encode_into(event, &mut out);
    }
    out.push(b']');
    out
}

/// Reads one event in structured form.
pub fn decode(bytes: &[u8]) -> Result<Event, EventError> {
    let members: Members<'_> = parse(bytes)?;
    members.into_event()
}

/// Reads a batch.
pub fn decode_batch(bytes: &[u8]) -> Result<Vec<Event>, EventError> {
    let events: Vec<Members<'_>> = parse(bytes)?;
    events.into_iter().map(Members::into_event).collect()
}

/// A JSON object that is being written.
pub(crate) struct Object<'a>(&'a mut Vec<u8>);

impl<'a> Object<'a> {
    /// Writes the context attributes.
    pub(crate) fn open(event: &Event, content_type: Option<&str>, subject: Option<&str>, out: &'a mut Vec<u8>) -> Self {
        out.extend_from_slice(br#"{"specversion":"1.0""#);
        let mut object = Self(out);
        object.text("id", event.id());
        object.text("source", event.source());
        object.text("type", event.ty());
        if let Some(content_type) = content_type {
            object.text("datacontenttype", content_type);
        }
        if let Some(subject) = subject {
            object.text("subject", subject);
        }
        if let Some(time) = event.time() {
            object.text("time", &time_text(time));
        }
        if let Some(schema) = event.dataschema() {
            object.text("dataschema", schema.as_str());
        }
        object
    }

    fn name(&mut self, name: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    /// A member whose value is JSON already.
    pub(crate) fn raw(&mut self, name: &str, json: &str) {
        self.name(name);
        self.0.extend_from_slice(json.as_bytes());
    }

    /// A member whose value is a string.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        // Writing a string into a Vec can't fail.
        let _ = serde_json::to_writer(&mut *self.0, value);
    }

    /// An extension. CloudEvents' integers have 32 bits: wider ones are carried as text, which every receiver takes.
    pub(crate) fn extension(&mut self, name: &str, value: &ExtensionValue) {
        match value {
            ExtensionValue::String(text) => self.text(name, text),
            ExtensionValue::Boolean(value) => self.raw(name, if *value { "true" } else { "false" }),
            ExtensionValue::Integer(value) if i32::try_from(*value).is_ok() => self.raw(name, &value.to_string()),
            ExtensionValue::Integer(value) => self.text(name, &value.to_string()),
        }
    }

    pub(crate) fn close(self) {
        self.0.push(b'}');
    }
}
