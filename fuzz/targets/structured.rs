//! Structured and batched JSON: what is taken can be sent on in every form, and stays what it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openconnect_protocol::{grpc, json, payload, wire};

fuzz_target!(|bytes: &[u8]| {
    let single = json::decode(bytes).into_iter();
    for event in single.chain(json::decode_batch(bytes).unwrap_or_default()) {
        let copy = json::decode(&json::encode(&event)).expect("own event");
        assert_eq!(payload::bytes(&copy), payload::bytes(&event));
        wire::decode(&wire::encode(&event, "topic")).expect("own event");
        grpc::to_event(grpc::from_event(&event, "topic")).expect("own event");
        let batch = json::decode_batch(&json::encode_batch([&event, &event])).expect("own batch");
        assert_eq!(batch.len(), 2);
    }
});
