//! The members of an event in JSON before they mean anything, and the event that they make.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, SecondsFormat, Utc};
use cloudevents::event::{Data, ExtensionValue};
use cloudevents::{Event, EventBuilder, EventBuilderV10};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use url::Url;

use crate::attributes::{CONTENT_TYPE, SUBJECT};
use crate::writable::{check_extension, check_subject, check_time};
use crate::{EventError, attributes, payload};

pub(crate) fn time_text(time: &DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A time that can be written again.
pub(crate) fn parse_time(text: &str) -> Result<DateTime<Utc>, EventError> {
    let time = DateTime::parse_from_rfc3339(text)
        .map_err(|e| EventError::invalid("time", e))?
        .with_timezone(&Utc);
    check_time(&time).map(|()| time)
}

/// The URI of a schema. What no URI has, a URL parser would leave out or encode: another URI than the client has sent.
pub(crate) fn parse_schema(text: &str) -> Result<Url, EventError> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(EventError::invalid("dataschema", "a URI has printable ASCII characters only"));
    }
    Url::parse(text).map_err(|e| EventError::invalid("dataschema", e))
}

/// Parses JSON. Its text is checked as a whole, which takes less than to check every string in it.
pub(crate) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, serde_json::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        // The parser says where, or does not come there.
        Err(_) => serde_json::from_slice(bytes),
    }
}

/// The members of a structured event, before they mean anything. Of duplicates the last wins, as in EventMesh's server.
#[derive(Default)]
pub(crate) struct Members<'a> {
    specversion: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    ty: Option<Cow<'a, str>>,
    pub(crate) subject: Option<Cow<'a, str>>,
    time: Option<Cow<'a, str>>,
    pub(crate) content_type: Option<Cow<'a, str>>,
    dataschema: Option<Cow<'a, str>>,
    pub(crate) extensions: Vec<(Cow<'a, str>, ExtensionValue)>,
    pub(crate) data: Option<&'a RawValue>,
    pub(crate) data_base64: Option<Cow<'a, str>>,
    /// Of an event from the mesh.
    pub(crate) envelope: Envelope<'a>,
    bad_extension: Option<String>,
}

/// What the mesh's own members say of an event.
#[derive(Default)]
pub(crate) struct Envelope<'a> {
    pub(crate) subject: Option<Cow<'a, str>>,
    pub(crate) content_type: Option<Cow<'a, str>>,
    pub(crate) encoding: Option<Cow<'a, str>>,
}

impl<'a> Envelope<'a> {
    pub(crate) fn put(&mut self, name: &str, value: Option<Cow<'a, str>>) {
        match name {
            SUBJECT => self.subject = value,
            CONTENT_TYPE => self.content_type = value,
            _ => self.encoding = value,
        }
    }
}

/// The members of an event that the mesh carries: what is the mesh's alone is left out, unread.
pub(crate) struct WireMembers<'a>(pub(crate) Members<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor { wire: false })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for WireMembers<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor { wire: true }).map(Self)
    }
}

struct MembersVisitor {
    wire: bool,
}

/// A string, borrowed from the input when it has no escapes; `null` counts as absent.
struct Text<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Borrowed(v))))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(v.to_owned()))))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Text(None))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// An extension's value, or nothing (`null`), or a value that no extension may have.
enum Extension {
    Value(ExtensionValue),
    Null,
    Bad,
}

impl<'de> Deserialize<'de> for Extension {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Value(ExtensionValue::Boolean(value)),
            serde_json::Value::String(text) => Self::Value(ExtensionValue::String(text)),
            serde_json::Value::Number(number) => number.as_i64().map_or(Self::Bad, |n| Self::Value(ExtensionValue::Integer(n))),
            _ => Self::Bad,
        })
    }
}

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CloudEvent as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members::default();
        while let Some(Text(Some(name))) = map.next_key::<Text<'de>>()? {
            match &*name {
                "specversion" => members.specversion = map.next_value::<Text<'de>>()?.0,
                "id" => members.id = map.next_value::<Text<'de>>()?.0,
                "source" => members.source = map.next_value::<Text<'de>>()?.0,
                "type" => members.ty = map.next_value::<Text<'de>>()?.0,
                "subject" => members.subject = map.next_value::<Text<'de>>()?.0,
                "time" => members.time = map.next_value::<Text<'de>>()?.0,
                "datacontenttype" => members.content_type = map.next_value::<Text<'de>>()?.0,
                "dataschema" => members.dataschema = map.next_value::<Text<'de>>()?.0,
                "data" => members.data = Some(map.next_value()?),
                "data_base64" => members.data_base64 = map.next_value::<Text<'de>>()?.0,
                name if self.wire && attributes::is_envelope(name) => {
                    let value = map.next_value::<Text<'de>>()?.0;
                    members.envelope.put(name, value);
                }
                name if self.wire && attributes::is_mesh(name) => {
                    map.next_value::<IgnoredAny>()?;
                }
                _ => match map.next_value()? {
                    Extension::Value(value) => members.put(name, value),
                    Extension::Null => {}
                    Extension::Bad => members.bad_extension = Some(name.into_owned()),
                },
            }
        }
        Ok(members)
    }
}

impl<'a> Members<'a> {
    /// Sets an attribute that is a text.
    pub(crate) fn set(&mut self, name: &'a str, value: Cow<'a, str>) {
        match name {
            "specversion" => self.specversion = Some(value),
            "id" => self.id = Some(value),
            "source" => self.source = Some(value),
            "type" => self.ty = Some(value),
            "subject" => self.subject = Some(value),
            "time" => self.time = Some(value),
            "datacontenttype" => self.content_type = Some(value),
            "dataschema" => self.dataschema = Some(value),
            _ => self.put(name.into(), ExtensionValue::String(value.into_owned())),
        }
    }

    fn put(&mut self, name: Cow<'a, str>, value: ExtensionValue) {
        match self.extensions.iter_mut().find(|(known, _)| *known == name) {
            Some(slot) => slot.1 = value,
            None => self.extensions.push((name, value)),
        }
    }

    /// The event with its data by the rules of the JSON format.
    pub(crate) fn into_event(mut self) -> Result<Event, EventError> {
        let content_type = self.content_type.take().map(Cow::into_owned);
        let data = match (self.data_base64.take(), self.data.take()) {
            (Some(_), Some(raw)) if raw.get() != "null" => {
                return Err(EventError::Data("`data` and `data_base64` exclude each other".into()));
            }
            (Some(text), _) => Some(decode_base64(&text)?),
            (None, Some(raw)) if raw.get() != "null" => Some(json_member(raw, content_type.as_deref())?),
            _ => None,
        };
        let subject = self.subject.take().map(Cow::into_owned);
        check_subject(subject.as_deref())?;
        self.build(subject, content_type, data)
    }

    /// The event, with what the caller made of subject, content type and data. `Data::Binary` is brought into the form
    /// that [`crate::payload`] promises.
    pub(crate) fn build(self, subject: Option<String>, content_type: Option<String>, data: Option<Data>) -> Result<Event, EventError> {
        match self.specversion.as_deref() {
            Some("1.0" | "0.3") => {}
            Some(other) => {
                return Err(EventError::invalid("specversion", format!("`{}` is not 1.0", truncate(other))));
            }
            None => return Err(EventError::Missing("specversion")),
        }
        if let Some(name) = self.bad_extension {
            return Err(EventError::invalid(&name, "an extension is a string, a boolean or an integer"));
        }
        let required = |value: Option<Cow<'a, str>>, name| value.filter(|v| !v.is_empty()).ok_or(EventError::Missing(name));
        let mut builder = EventBuilderV10::new()
            .id(required(self.id, "id")?)
            .source(required(self.source, "source")?)
            .ty(required(self.ty, "type")?);
        if let Some(subject) = subject.filter(|s| !s.is_empty()) {
            builder = builder.subject(subject);
        }
        if let Some(time) = self.time {
            builder = builder.time(parse_time(&time)?);
        }
        for (name, value) in self.extensions {
            check_extension(&name)?;
            builder = builder.extension(&name, value);
        }
        let mut event = builder.build().map_err(|e| EventError::invalid("event", e))?;
        let schema = self.dataschema.map(|text| parse_schema(&text)).transpose()?;
        finish(&mut event, content_type, schema, data);
        Ok(event)
    }
}

/// Sets content type, schema and data.
pub(crate) fn finish(event: &mut Event, content_type: Option<String>, schema: Option<Url>, data: Option<Data>) {
    use cloudevents::AttributesWriter;
    event.set_dataschema(schema);
    match data {
        None => {
            event.set_datacontenttype(content_type);
        }
        Some(Data::Binary(bytes)) => payload::set_bytes(event, content_type, bytes),
        Some(data) => payload::set(event, content_type, data),
    }
}

fn json_member(raw: &RawValue, content_type: Option<&str>) -> Result<Data, EventError> {
    let text = raw.get();
    if !payload::is_json(content_type) && text.starts_with('"') {
        return Ok(Data::String(serde_json::from_str(text)?));
    }
    Ok(Data::String(text.to_owned()))
}

pub(crate) fn decode_base64(text: &str) -> Result<Data, EventError> {
    BASE64.decode(text).map(Data::Binary).map_err(|e| EventError::Base64(e.into()))
}

fn truncate(text: &str) -> String {
    text.chars().take(32).collect()
}
