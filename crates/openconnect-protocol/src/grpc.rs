//! The gRPC messages and services of EventMesh 1.x, and events to and from them.
//!
//! The server refuses events without data and puts its own attributes beside the event's. [`from_event`] and [`to_event`]
//! keep what would be lost in the extensions `ocsubject`, `occontenttype` and `ocencoding` (`none`: no data; `empty`: data of
//! no bytes; `data`: only the content type differs).

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use cloudevents::event::{Data, ExtensionValue};
use cloudevents::{AttributesReader, Event, EventBuilder, EventBuilderV10};

use crate::attributes::{self, CONTENT_TYPE, ENCODING, ESCAPE, SUBJECT};
use crate::members::{self, Envelope};
use crate::{EventError, payload, writable};

/// The generated messages, clients and servers.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, nonstandard_style)]
pub mod pb {
    tonic::include_proto!("org.apache.eventmesh.cloudevents.v1");
}

use pb::cloud_event::cloud_event_attribute_value::Attr;
use pb::cloud_event::{CloudEventAttributeValue, Data as PbData};

/// Names of control attributes (`ProtocolKey.java`). All are read as `ce_string` but `clienttype` (`ce_integer`).
#[allow(missing_docs)]
pub mod keys {
    pub const ENV: &str = "env";
    pub const IDC: &str = "idc";
    pub const SYS: &str = "sys";
    pub const IP: &str = "ip";
    pub const PID: &str = "pid";
    pub const USERNAME: &str = "username";
    pub const PASSWD: &str = "passwd";
    pub const LANGUAGE: &str = "language";
    pub const PROTOCOL_TYPE: &str = "protocoltype";
    pub const PROTOCOL_VERSION: &str = "protocolversion";
    pub const PROTOCOL_DESC: &str = "protocoldesc";
    pub const PRODUCER_GROUP: &str = "producergroup";
    pub const CONSUMER_GROUP: &str = "consumergroup";
    pub const UNIQUE_ID: &str = "uniqueid";
    pub const SEQ_NUM: &str = "seqnum";
    pub const TTL: &str = "ttl";
    pub const SUBJECT: &str = "subject";
    pub const DATA_CONTENT_TYPE: &str = "datacontenttype";
    pub const DATA_SCHEMA: &str = "dataschema";
    pub const TIME: &str = "time";
    pub const CLUSTER: &str = "cluster";
    pub const URL: &str = "url";
    pub const CLIENT_TYPE: &str = "clienttype";
    pub const SUB_MESSAGE_TYPE: &str = "submessagetype";
    pub const STATUS_CODE: &str = "statuscode";
    pub const RESPONSE_MESSAGE: &str = "responsemessage";
}

/// Outcome of a call, in the attribute `statuscode` of the answer (`StatusCode.java`). The gRPC status is almost always OK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StatusCode(pub i32);

#[allow(missing_docs)]
impl StatusCode {
    pub const SUCCESS: Self = Self(0);
    pub const OVERLOAD: Self = Self(1);
    pub const HEADER_ERROR: Self = Self(6);
    pub const BODY_ERROR: Self = Self(7);
    pub const STOPPING: Self = Self(8);
    pub const REJECTED: Self = Self(9);
    pub const PUBLISH_FAILED: Self = Self(14);
    pub const REPLY_FAILED: Self = Self(15);
    pub const RUNTIME_ERROR: Self = Self(16);
    pub const SUBSCRIBE_ERROR: Self = Self(17);
    pub const UNSUBSCRIBE_ERROR: Self = Self(18);
    pub const HEARTBEAT_ERROR: Self = Self(19);
    pub const ACL_REFUSAL: Self = Self(20);
    pub const RATE_LIMIT: Self = Self(21);
    pub const REQUEST_REPLY_FAILED: Self = Self(22);
    pub const RESUBSCRIBE: Self = Self(30);

    /// The code in an answer; `None` when there is none or it is no number (count that as a failure).
    pub fn of(answer: &pb::CloudEvent) -> Option<Self> {
        attr(answer, keys::STATUS_CODE)?.parse().ok().map(Self)
    }
}

/// A `ce_string` attribute; other kinds read as absent, as on the server.
pub fn attr<'a>(event: &'a pb::CloudEvent, name: &str) -> Option<&'a str> {
    match event.attributes.get(name)?.attr.as_ref()? {
        Attr::CeString(text) => Some(text),
        _ => None,
    }
}

/// An attribute of any scalar kind, as text.
pub fn scalar(event: &pb::CloudEvent, name: &str) -> Option<String> {
    let attr = event.attributes.get(name)?.attr.clone()?;
    Some(extension_of(attr).to_string())
}

/// Sets a `ce_string` attribute.
pub fn set_attr(event: &mut pb::CloudEvent, name: &str, value: impl Into<String>) {
    put(event, name, Attr::CeString(value.into()));
}

/// Sets an attribute of any kind.
pub fn put(event: &mut pb::CloudEvent, name: &str, attr: Attr) {
    event
        .attributes
        .insert(name.to_owned(), CloudEventAttributeValue { attr: Some(attr) });
}

/// The event for `topic`, without control attributes: the client adds its own.
pub fn from_event(event: &Event, topic: &str) -> pb::CloudEvent {
    let mut out = pb::CloudEvent {
        id: event.id().to_owned(),
        source: event.source().clone(),
        spec_version: "1.0".to_owned(),
        r#type: event.ty().to_owned(),
        ..Default::default()
    };
    set_attr(&mut out, keys::SUBJECT, topic);
    if let Some(subject) = event.subject() {
        set_attr(&mut out, SUBJECT, subject);
    }
    if let Some(schema) = event.dataschema() {
        set_attr(&mut out, keys::DATA_SCHEMA, schema.as_str());
    }
    if let Some(time) = event.time() {
        let time = prost_types::Timestamp {
            seconds: time.timestamp(),
            nanos: time.timestamp_subsec_nanos().min(999_999_999) as i32,
        };
        put(&mut out, keys::TIME, Attr::CeTimestamp(time));
    }
    for (name, value) in event.iter_extensions() {
        let taken = attributes::is_mesh(name) || name.strip_prefix(ESCAPE).is_some_and(|rest| !rest.is_empty());
        let name = if taken { format!("{ESCAPE}{name}") } else { name.to_owned() };
        let attr = match value {
            ExtensionValue::String(text) => Attr::CeString(text.clone()),
            ExtensionValue::Boolean(value) => Attr::CeBoolean(*value),
            ExtensionValue::Integer(value) => i32::try_from(*value).map_or_else(|_| Attr::CeString(value.to_string()), Attr::CeInteger),
        };
        put(&mut out, &name, attr);
    }
    put_data(event, &mut out);
    out
}

fn put_data(event: &Event, out: &mut pb::CloudEvent) {
    let content_type = event.datacontenttype();
    let bytes = payload::bytes(event);
    let textual = content_type.is_some() && (payload::is_json(content_type) || payload::is_text(content_type));
    let (data, wire_type, encoding) = match (bytes, content_type) {
        (None, _) => (PbData::TextData("null".into()), "application/json", Some("none")),
        (Some(bytes), _) if bytes.is_empty() => (PbData::TextData("null".into()), "application/json", Some("empty")),
        (Some(bytes), content_type) => match (String::from_utf8(bytes.into_owned()), content_type) {
            (Ok(text), Some(content_type)) if textual => (PbData::TextData(text), content_type, None),
            (Ok(text), None) if payload::valid_json(&text) => (PbData::TextData(text), "application/json", Some("data")),
            (Ok(text), None) => (PbData::BinaryData(text.into_bytes()), "application/octet-stream", Some("data")),
            (Err(error), _) if textual || content_type.is_none() => {
                (PbData::BinaryData(error.into_bytes()), "application/octet-stream", Some("data"))
            }
            (Ok(text), Some(content_type)) => (PbData::BinaryData(text.into_bytes()), content_type, None),
            (Err(error), Some(content_type)) => (PbData::BinaryData(error.into_bytes()), content_type, None),
            (Err(error), None) => (PbData::BinaryData(error.into_bytes()), "application/octet-stream", Some("data")),
        },
    };
    set_attr(out, keys::DATA_CONTENT_TYPE, wire_type);
    if let Some(encoding) = encoding {
        set_attr(out, ENCODING, encoding);
        if let Some(content_type) = content_type {
            set_attr(out, CONTENT_TYPE, content_type);
        }
    }
    out.data = Some(data);
}

/// Reads an event from the mesh: control attributes are stripped, the event's own subject, content type and data put back.
pub fn to_event(message: pb::CloudEvent) -> Result<Event, EventError> {
    let required = |value: String, name| {
        if value.is_empty() {
            Err(EventError::Missing(name))
        } else {
            Ok(value)
        }
    };
    let mut builder = EventBuilderV10::new()
        .id(required(message.id, "id")?)
        .source(required(message.source, "source")?)
        .ty(required(message.r#type, "type")?);
    let mut envelope = Envelope::default();
    let (mut content_type, mut schema) = (None, None);
    for (name, value) in message.attributes {
        let Some(attr) = value.attr else { continue };
        match name.as_str() {
            keys::SUBJECT => {}
            keys::DATA_CONTENT_TYPE => content_type = text_of(attr),
            keys::DATA_SCHEMA => schema = text_of(attr),
            keys::TIME => builder = builder.time(time_of(attr)?),
            name if attributes::is_envelope(name) => {
                envelope.put(name, text_of(attr).map(Cow::Owned));
            }
            name if attributes::is_mesh(name) => {}
            name => {
                let own = name
                    .strip_prefix(ESCAPE)
                    .filter(|own| attributes::is_mesh(own) || own.starts_with(ESCAPE))
                    .unwrap_or(name);
                writable::check_extension(own)?;
                builder = builder.extension(own, extension_of(attr));
            }
        }
    }
    if let Some(subject) = envelope.subject.filter(|s| !s.is_empty()) {
        builder = builder.subject(subject.into_owned());
    }
    let mut data = message.data.map(|data| match data {
        PbData::BinaryData(bytes) => bytes,
        PbData::TextData(text) => text.into_bytes(),
        PbData::ProtoData(any) => any.value,
    });
    if let Some(encoding) = envelope.encoding {
        content_type = envelope.content_type.map(Cow::into_owned);
        match &*encoding {
            "none" => data = None,
            "empty" => data = Some(Vec::new()),
            _ => {}
        }
    }
    let mut event = builder.build().map_err(|e| EventError::invalid("event", e))?;
    let schema = schema.map(|text| members::parse_schema(&text)).transpose()?;
    members::finish(&mut event, content_type, schema, data.map(Data::Binary));
    Ok(event)
}

fn text_of(attr: Attr) -> Option<String> {
    match attr {
        Attr::CeString(text) | Attr::CeUri(text) | Attr::CeUriRef(text) => Some(text),
        _ => None,
    }
}

fn extension_of(attr: Attr) -> ExtensionValue {
    use base64::Engine as _;
    match attr {
        Attr::CeBoolean(value) => ExtensionValue::Boolean(value),
        Attr::CeInteger(value) => ExtensionValue::Integer(value.into()),
        Attr::CeString(text) | Attr::CeUri(text) | Attr::CeUriRef(text) => ExtensionValue::String(text),
        Attr::CeBytes(bytes) => ExtensionValue::String(base64::engine::general_purpose::STANDARD.encode(bytes)),
        Attr::CeTimestamp(time) => ExtensionValue::String(timestamp(&time).map(|t| members::time_text(&t)).unwrap_or_default()),
    }
}

fn timestamp(time: &prost_types::Timestamp) -> Option<DateTime<Utc>> {
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    DateTime::from_timestamp(time.seconds, nanos).filter(|time| writable::check_time(time).is_ok())
}

fn time_of(attr: Attr) -> Result<DateTime<Utc>, EventError> {
    let wrong = || EventError::invalid("time", "not a timestamp");
    match attr {
        Attr::CeTimestamp(time) => timestamp(&time).ok_or_else(wrong),
        Attr::CeString(text) => members::parse_time(&text),
        _ => Err(wrong()),
    }
}
