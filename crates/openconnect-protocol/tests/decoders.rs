//! Every decoder on every input: none panics, none keeps more than its bound.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use cloudevents::AttributesReader as _;
use openconnect_protocol::frame::{Command, Frame, FrameCodec, Header, RawFrame};
use openconnect_protocol::grpc::pb::cloud_event::cloud_event_attribute_value::Attr;
use openconnect_protocol::grpc::pb::cloud_event::{CloudEventAttributeValue, Data};
use openconnect_protocol::grpc::pb::{CloudEvent, CloudEventBatch};
use openconnect_protocol::refusal::RefusalKind;
use openconnect_protocol::session::{RedirectInfo, Subscription, UserAgent};
use openconnect_protocol::{grpc, http, json, wire};
use proptest::collection::{btree_map, hash_map, vec};
use proptest::prelude::*;
use prost::Message as _;
use tokio_util::codec::{Decoder as _, Encoder as _};

const MAX_FRAME: usize = 4096;

fn frame() -> impl Strategy<Value = Frame> {
    let value = prop_oneof![
        any::<String>().prop_map(serde_json::Value::from),
        any::<u64>().prop_map(serde_json::Value::from),
        any::<bool>().prop_map(serde_json::Value::from),
    ];
    (
        proptest::sample::select(Command::ALL.to_vec()),
        any::<i32>(),
        any::<Option<String>>(),
        any::<String>(),
        btree_map(any::<String>(), value, 0..4),
        vec(any::<u8>(), 0..400),
    )
        .prop_map(|(cmd, code, desc, seq, properties, body)| Frame {
            header: Header {
                cmd,
                code,
                desc,
                seq,
                properties,
            },
            body: Bytes::from(body),
        })
}

/// Bytes that get past the first checks: a frame with a few bytes changed.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    (frame(), vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4)).prop_map(|(frame, changes)| {
        let mut bytes = encoded(&frame);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

fn encoded(frame: &Frame) -> Vec<u8> {
    let mut out = BytesMut::new();
    FrameCodec::new(1 << 20).encode(frame, &mut out).unwrap();
    out.to_vec()
}

fn attribute() -> impl Strategy<Value = CloudEventAttributeValue> {
    let attr = prop_oneof![
        any::<bool>().prop_map(Attr::CeBoolean),
        any::<i32>().prop_map(Attr::CeInteger),
        any::<String>().prop_map(Attr::CeString),
        vec(any::<u8>(), 0..20).prop_map(Attr::CeBytes),
        any::<String>().prop_map(Attr::CeUri),
        any::<String>().prop_map(Attr::CeUriRef),
        (any::<i64>(), any::<i32>()).prop_map(|(seconds, nanos)| Attr::CeTimestamp(prost_types::Timestamp { seconds, nanos })),
        (-70_000_000_000..300_000_000_000i64, 0..1_500_000_000i32)
            .prop_map(|(seconds, nanos)| Attr::CeTimestamp(prost_types::Timestamp { seconds, nanos })),
    ];
    proptest::option::weighted(0.95, attr).prop_map(|attr| CloudEventAttributeValue { attr })
}

fn message() -> impl Strategy<Value = CloudEvent> {
    let name = prop_oneof![
        4 => "[a-z0-9]{1,8}",
        1 => any::<String>(),
        4 => proptest::sample::select(vec!["time", "subject", "dataschema", "datacontenttype", "ocsubject", "ocencoding", "occontenttype", "ttl", "ocxttl"])
            .prop_map(str::to_owned),
    ];
    let data = prop_oneof![
        vec(any::<u8>(), 0..50).prop_map(Data::BinaryData),
        any::<String>().prop_map(Data::TextData),
        vec(any::<u8>(), 0..50).prop_map(|value| Data::ProtoData(prost_types::Any {
            type_url: "t".into(),
            value
        })),
    ];
    (
        ".{0,4}",
        ".{0,4}",
        ".{0,4}",
        hash_map(name, attribute(), 0..5),
        proptest::option::of(data),
    )
        .prop_map(|(id, source, ty, attributes, data): (_, _, _, HashMap<_, _>, _)| CloudEvent {
            id,
            source,
            spec_version: "1.0".into(),
            r#type: ty,
            attributes,
            data,
        })
}

/// JSON that looks like an event, with members of every kind.
fn structured() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        proptest::sample::select(vec![
            "specversion",
            "id",
            "source",
            "type",
            "subject",
            "time",
            "data",
            "data_base64",
            "datacontenttype",
            "ocencoding"
        ])
        .prop_map(str::to_owned),
        "[a-z0-9]{1,6}",
    ];
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("\"1.0\"".to_owned()),
        Just("\"base64\"".to_owned()),
        Just("\"text\"".to_owned()),
        Just("\"0000-01-01T00:00:00+23:00\"".to_owned()),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        any::<f64>().prop_map(|n| format!("{n:e}")),
        Just("{\"a\":[1]}".to_owned()),
    ];
    vec((name, value), 0..8).prop_map(|members| {
        let members: Vec<String> = [("specversion", "\"1.0\""), ("id", "\"1\""), ("source", "\"/s\""), ("type", "\"t\"")]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .chain(members)
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        format!("{{{}}}", members.join(",")).into_bytes()
    })
}

/// They would become another event in silence.
#[test]
fn what_cannot_be_kept_is_refused() {
    for (name, value) in [
        ("subject", ""),
        ("dataschema", "a\\r\\nx-injected: 1"),
        ("dataschema", " urn:a "),
        ("dataschema", "http://h/gr\u{fc}n"),
    ] {
        let event = format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","{name}":"{value}"}}"#);
        let error = json::decode(event.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(&format!("`{name}`")), "{event}: {error}");
    }
}

proptest! {
    #[test]
    fn the_codec_never_panics_and_never_keeps_more_than_one_frame(
        bytes in prop_oneof![vec(any::<u8>(), 0..600), damaged()],
        chunks in vec(1usize..80, 1..8),
    ) {
        let mut codec = FrameCodec::new(MAX_FRAME);
        let (mut buffer, mut rest, mut at) = (BytesMut::new(), bytes.as_slice(), 0);
        'stream: while !rest.is_empty() {
            let (chunk, after) = rest.split_at(chunks[at % chunks.len()].min(rest.len()));
            (rest, at) = (after, at + 1);
            buffer.extend_from_slice(chunk);
            loop {
                match codec.decode(&mut buffer) {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
            prop_assert!(buffer.len() < MAX_FRAME);
            prop_assert!(buffer.capacity() <= 2 * MAX_FRAME);
        }
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut(frames in vec(frame(), 1..4), chunk in 1usize..100) {
        let bytes: Vec<u8> = frames.iter().flat_map(encoded).collect();
        let (mut codec, mut buffer, mut out) = (FrameCodec::new(1 << 20), BytesMut::new(), Vec::new());
        for part in bytes.chunks(chunk) {
            buffer.extend_from_slice(part);
            while let Some(frame) = codec.decode(&mut buffer).unwrap() {
                out.push(frame);
            }
        }
        prop_assert_eq!(out, frames);
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn bodies_and_events_of_any_bytes_never_panic(bytes in prop_oneof![vec(any::<u8>(), 0..200), any::<String>().prop_map(String::into_bytes)]) {
        let _ = serde_json::from_slice::<UserAgent>(&bytes);
        let _ = serde_json::from_slice::<Subscription>(&bytes);
        let _ = serde_json::from_slice::<RedirectInfo>(&bytes);
        let _ = (json::decode(&bytes).is_ok(), json::decode_batch(&bytes).is_ok());
        let _ = (wire::decode(&bytes).is_ok(), wire::peek(&bytes).is_ok());
        let _ = http::decode(&bytes);
        if let Ok(message) = CloudEvent::decode(bytes.as_slice()) {
            let _ = grpc::to_event(message);
        }
    }

    #[test]
    fn what_is_taken_as_json_can_be_sent_on_in_every_form(bytes in structured()) {
        let _ = wire::peek(&bytes);
        for event in [json::decode(&bytes), wire::decode(&bytes)].into_iter().flatten() {
            prop_assert_eq!(&json::decode(&json::encode(&event)).unwrap().id().to_owned(), event.id());
            wire::decode(&wire::encode(&event, "topic")).unwrap();
            grpc::to_event(grpc::from_event(&event, "topic")).unwrap();
        }
    }

    #[test]
    fn what_is_taken_over_grpc_can_be_sent_on_in_every_form(message in message()) {
        let again = CloudEvent::decode(message.encode_to_vec().as_slice()).unwrap();
        prop_assert_eq!(&again, &message);
        if let Ok(event) = grpc::to_event(message) {
            prop_assert_eq!(&grpc::to_event(grpc::from_event(&event, "topic")).unwrap(), &event);
            wire::decode(&wire::encode(&event, "topic")).unwrap();
            json::decode(&json::encode(&event)).unwrap();
        }
    }
}

/// Everything that the codec makes of a stream cut into these chunks: frames, and how it ended.
fn decoded(bytes: &[u8], chunk: usize) -> (Vec<RawFrame>, Result<usize, String>) {
    let (codec, mut buffer, mut frames) = (FrameCodec::new(MAX_FRAME), BytesMut::new(), Vec::new());
    for part in bytes.chunks(chunk) {
        buffer.extend_from_slice(part);
        loop {
            match codec.decode_raw(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error.to_string())),
            }
        }
    }
    (frames, Ok(buffer.len()))
}

proptest! {
    #[test]
    fn a_stream_gives_the_same_however_it_is_cut(streams in vec(damaged(), 1..4), chunk in 1usize..200) {
        let bytes = streams.concat();
        prop_assert_eq!(decoded(&bytes, chunk), decoded(&bytes, usize::MAX));
    }

    #[test]
    fn lengths_that_are_only_claimed_take_no_memory(package in any::<i32>(), header in any::<i32>(), rest in vec(any::<u8>(), 0..64)) {
        let bytes = [b"EventMesh0000".as_slice(), &package.to_be_bytes(), &header.to_be_bytes(), &rest].concat();
        let mut buffer = BytesMut::from(bytes.as_slice());
        let _ = FrameCodec::new(usize::MAX).decode_raw(&mut buffer);
        prop_assert!(buffer.capacity() <= 256 << 10, "{}", buffer.capacity());
    }

    #[test]
    fn a_message_with_changed_bytes_never_panics(
        messages in vec(message(), 1..3),
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = CloudEventBatch { events: messages }.encode_to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(batch) = CloudEventBatch::decode(bytes.as_slice()) {
            for message in batch.events {
                let _ = (RefusalKind::of_grpc(&message), grpc::scalar(&message, "partitionkey"));
                let _ = grpc::to_event(message);
            }
        }
    }

    #[test]
    fn every_text_has_a_kind_of_refusal(told in any::<Option<String>>(), code in any::<i32>(), desc in any::<String>()) {
        let kind = RefusalKind::of_tcp(told.as_deref(), code, &desc);
        prop_assert_eq!(RefusalKind::of_tcp(Some(kind.name()), code, &desc), kind);
    }

    #[test]
    fn what_a_server_looks_at_is_what_a_client_reads(bytes in structured()) {
        if let Ok(event) = wire::decode(&bytes) {
            let peek = wire::peek(&bytes).unwrap();
            prop_assert_eq!((&*peek.id, peek.source.as_ref(), peek.ty.as_ref()), (event.id(), event.source().as_str(), event.ty()));
        }
    }
}
