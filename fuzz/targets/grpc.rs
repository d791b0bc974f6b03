//! EventMesh's gRPC message as an event, and back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openconnect_protocol::grpc::{self, pb};
use openconnect_protocol::{json, wire};
use prost::Message as _;

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = pb::CloudEvent::decode(bytes) else { return };
    let _ = (grpc::StatusCode::of(&message), grpc::scalar(&message, "partitionkey"));
    let Ok(event) = grpc::to_event(message) else { return };
    let copy = grpc::to_event(grpc::from_event(&event, "topic")).expect("own message");
    assert_eq!(copy, event);
    wire::decode(&wire::encode(&event, "topic")).expect("own event");
    json::decode(&json::encode(&event)).expect("own event");
});
