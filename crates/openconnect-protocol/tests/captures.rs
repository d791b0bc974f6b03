//! Recorded conversations: every frame, message and event of them is understood, and the same when it is encoded again.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unreachable_pub)]

#[path = "support/conversations.rs"]
mod conversations;

use bytes::BytesMut;
use conversations::{Line, What};
use openconnect_protocol::frame::{Command, Frame, FrameCodec, encode_raw};
use openconnect_protocol::grpc::pb::{CloudEvent, CloudEventBatch};
use openconnect_protocol::grpc::{self, keys};
use openconnect_protocol::refusal::RefusalKind;
use openconnect_protocol::{Event, json, wire};
use prost::Message;
use tokio_util::codec::{Decoder as _, Encoder as _};

#[derive(Default)]
struct Seen {
    frames: usize,
    messages: usize,
    events: usize,
    refusals: usize,
    /// Events that EventMesh itself broke.
    unreadable: usize,
    /// Frames that clients were made to send although they are none.
    broken: usize,
}

#[test]
fn everything_that_was_recorded_is_understood() {
    let mut seen = Seen::default();
    for conversation in conversations::all() {
        for line in &conversation.lines {
            let (bytes, from_server) = match &line.what {
                What::Client(bytes) => (bytes, false),
                What::Server(bytes) => (bytes, true),
                _ => continue,
            };
            match line.method.as_str() {
                "" => tcp(line, bytes, from_server, &mut seen),
                "batchPublish" if !from_server => {
                    same::<CloudEventBatch>(bytes, line)
                        .events
                        .into_iter()
                        .for_each(|message| published(message, line, &mut seen));
                    seen.messages += 1;
                }
                _ => {
                    published(same(bytes, line), line, &mut seen);
                    seen.messages += 1;
                }
            }
        }
    }
    println!(
        "{} frames, {} messages, {} events, {} refusals; {} deliberately broken frames refused, {} events broken by the server",
        seen.frames, seen.messages, seen.events, seen.refusals, seen.broken, seen.unreadable
    );
    assert!(seen.frames > 0 && seen.messages > 0 && seen.events > 0 && seen.refusals > 0);
}

fn same<M: Message + Default + PartialEq + std::fmt::Debug>(bytes: &[u8], line: &Line) -> M {
    let message = M::decode(bytes).unwrap_or_else(|e| panic!("{}: {e}", line.place));
    assert_eq!(M::decode(message.encode_to_vec().as_slice()).unwrap(), message, "{}", line.place);
    message
}

fn tcp(line: &Line, bytes: &[u8], from_server: bool, seen: &mut Seen) {
    let frame = match frame(bytes) {
        Ok(frame) => frame,
        Err(error) => {
            assert!(!from_server && line.place.contains("quirks"), "{}: {error}", line.place);
            seen.broken += 1;
            return;
        }
    };
    seen.frames += 1;
    if frame.header.code != 0 && from_server {
        let desc = frame.header.desc.as_deref().unwrap();
        let request = !desc.starts_with('[');
        // A stack trace is all that is told of a push or a HELLO that failed; every text is known.
        let unknown = RefusalKind::of_tcp(None, frame.header.code, desc) == RefusalKind::Unknown;
        assert!(!request || !unknown || is_about_the_frame(desc), "{}: {desc}", line.place);
        seen.refusals += 1;
        return;
    }
    let is_event = frame.header.property("protocoltype") == Some("cloudevents");
    let pushed = matches!(
        frame.header.cmd,
        Command::AsyncMessageToClient | Command::BroadcastMessageToClient | Command::RequestToClient | Command::ResponseToClient
    );
    if from_server && pushed && is_event {
        match wire::decode(&frame.body) {
            Ok(event) => {
                everywhere(&event, line);
                seen.events += 1;
            }
            // EventMesh writes bytes under a JSON content type as they are.
            Err(error) => {
                let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&frame.body).is_ok();
                assert!(!is_json, "{}: {error}", line.place);
                seen.unreadable += 1;
            }
        }
    } else if let Ok(event) = wire::decode(&frame.body) {
        everywhere(&event, line);
        seen.events += 1;
    }
}

/// What is said of frames that no client of ours sends.
fn is_about_the_frame(desc: &str) -> bool {
    desc.contains("registry enable config") || desc.contains("the incoming message does not have")
}

fn frame(bytes: &[u8]) -> Result<Frame, String> {
    let mut codec = FrameCodec::new(8 << 20);
    let mut whole = BytesMut::from(bytes);
    let raw = codec.decode_raw(&mut whole).map_err(|e| e.to_string())?.ok_or("incomplete")?;
    let mut again = BytesMut::new();
    encode_raw(&raw.header, &raw.body, &mut again).map_err(|e| e.to_string())?;
    assert_eq!(again, bytes, "other bytes when encoded again");
    let frame = raw.parse().map_err(|e| e.to_string())?;
    codec.encode(&frame, &mut again).map_err(|e| e.to_string())?;
    again.split_to(bytes.len()).clear();
    let decoded = codec.decode(&mut again).map_err(|e| e.to_string())?;
    assert_eq!(decoded.as_ref(), Some(&frame), "another frame when encoded again");
    Ok(frame)
}

fn published(message: CloudEvent, line: &Line, seen: &mut Seen) {
    let answer = grpc::attr(&message, keys::STATUS_CODE).is_some();
    if answer || message.attributes.contains_key(keys::CONSUMER_GROUP) {
        return;
    }
    let event = grpc::to_event(message).unwrap_or_else(|e| panic!("{}: {e}", line.place));
    everywhere(&event, line);
    seen.events += 1;
}

/// The event is the same after a journey in each form.
fn everywhere(event: &Event, line: &Line) {
    let over_tcp = wire::decode(&wire::encode(event, "topic")).unwrap();
    let over_grpc = grpc::to_event(grpc::from_event(event, "topic")).unwrap();
    let structured = json::decode(&json::encode(event)).unwrap();
    for (form, again) in [("wire", over_tcp), ("gRPC", over_grpc), ("JSON", structured)] {
        assert_eq!(value(&again), value(event), "{}: {form}", line.place);
    }
}

fn value(event: &Event) -> serde_json::Value {
    serde_json::from_slice(&json::encode(event)).unwrap()
}
