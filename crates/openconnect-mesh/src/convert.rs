//! Events between the forms in which the transports carry them. What stays in its own form is not looked at.

use bytes::{Bytes, BytesMut};
use cloudevents::{AttributesReader, Event, EventBuilder, EventBuilderV10};
use openconnect_protocol::grpc::{self, keys, pb};
use openconnect_protocol::{EventError, wire};
use prost::Message;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::log::record::Kind;

/// An event in the form in which it came.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) kind: Kind,
    pub(crate) body: Bytes,
}

/// EventMesh's older message.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct MeshMessage {
    #[serde(default)]
    pub(crate) topic: Option<String>,
    #[serde(default)]
    pub(crate) properties: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(default)]
    pub(crate) headers: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(default)]
    pub(crate) body: Option<String>,
}

impl MeshMessage {
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        self.properties.as_ref()?.get(name)?.as_str()
    }

    fn into_event(self) -> Result<Event, EventError> {
        let id = self
            .property("id")
            .or(self.property("uniqueid"))
            .map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
        let content_type = self
            .headers
            .as_ref()
            .and_then(|h| h.get("datacontenttype"))
            .and_then(|v| v.as_str());
        let mut builder = EventBuilderV10::new()
            .id(id)
            .source("/")
            .ty("eventmeshmessage")
            .data(content_type.unwrap_or("text/plain"), self.body.clone().unwrap_or_default());
        for (name, value) in self.properties.iter().flatten() {
            let usable = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            if let Some(text) = value.as_str().filter(|_| usable && name != "id") {
                builder = builder.extension(name, text.to_owned());
            }
        }
        builder.build().map_err(|e| EventError::Data(e.into()))
    }
}

impl Form {
    /// The event itself, without what the mesh added.
    pub(crate) fn event(&self) -> Result<Event, EventError> {
        match self.kind {
            Kind::CloudEvent => wire::decode(&self.body),
            Kind::Message => serde_json::from_slice::<MeshMessage>(&self.body)?.into_event(),
            Kind::Grpc => {
                let message = pb::CloudEvent::decode(self.body.clone()).map_err(|e| EventError::Data(e.into()))?;
                grpc::to_event(message)
            }
        }
    }

    /// As JSON for a TCP client, and the value of `protocoltype` that says what it is.
    pub(crate) fn to_tcp(&self, topic: &str) -> Result<(Bytes, &'static str), EventError> {
        Ok(match self.kind {
            Kind::CloudEvent => (self.body.clone(), "cloudevents"),
            Kind::Message => (self.body.clone(), "eventmeshmessage"),
            Kind::Grpc => {
                let message = pb::CloudEvent::decode(self.body.clone()).map_err(|e| EventError::Data(e.into()))?;
                if grpc::attr(&message, keys::PROTOCOL_TYPE) == Some("eventmeshmessage") {
                    (mesh_message(&message, topic)?, "eventmeshmessage")
                } else {
                    let mut out = Vec::with_capacity(self.body.len() + 256);
                    let ttl = grpc::attr(&message, keys::TTL).unwrap_or("4000").to_owned();
                    wire::encode_into(&grpc::to_event(message)?, topic, &[("ttl", &ttl)], &mut out);
                    (out.into(), "cloudevents")
                }
            }
        })
    }

    /// As a message for a gRPC client, with everything that client's library looks at.
    pub(crate) fn to_grpc(&self, topic: &str) -> Result<pb::CloudEvent, EventError> {
        if self.kind == Kind::Grpc {
            return pb::CloudEvent::decode(self.body.clone()).map_err(|e| EventError::Data(e.into()));
        }
        let event = self.event()?;
        let mut out = grpc::from_event(&event, topic);
        let protocol = if self.kind == Kind::Message {
            "eventmeshmessage"
        } else {
            "cloudevents"
        };
        for (name, value) in [
            (keys::PROTOCOL_TYPE, protocol),
            (keys::PROTOCOL_VERSION, "1.0"),
            (keys::PROTOCOL_DESC, "grpc-cloud-event"),
            (keys::PRODUCER_GROUP, "openconnect-mesh"),
            (keys::UNIQUE_ID, event.id()),
            (keys::SEQ_NUM, event.id()),
            (keys::TTL, "4000"),
        ] {
            grpc::set_attr(&mut out, name, value);
        }
        Ok(out)
    }
}

fn mesh_message(message: &pb::CloudEvent, topic: &str) -> Result<Bytes, EventError> {
    let text = match &message.data {
        Some(pb::cloud_event::Data::TextData(text)) => text.clone(),
        Some(pb::cloud_event::Data::BinaryData(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    let hidden = [keys::USERNAME, keys::PASSWD];
    let properties = message.attributes.keys().filter(|name| !hidden.contains(&name.as_str()));
    let properties = properties
        .filter_map(|name| Some((name.clone(), grpc::attr(message, name)?.into())))
        .collect();
    let out = MeshMessage {
        topic: Some(topic.to_owned()),
        properties: Some(properties),
        headers: Some(BTreeMap::new()),
        body: Some(text),
    };
    Ok(serde_json::to_vec(&out)?.into())
}

/// Appends `text` as a JSON string.
pub(crate) fn json_text(text: &str, out: &mut BytesMut) {
    out.extend_from_slice(b"\"");
    if text.bytes().all(|b| b >= b' ' && b != b'"' && b != b'\\') {
        out.extend_from_slice(text.as_bytes());
    } else {
        let quoted = serde_json::Value::from(text).to_string();
        out.extend_from_slice(quoted.as_bytes().get(1..quoted.len() - 1).unwrap_or_default());
    }
    out.extend_from_slice(b"\"");
}
