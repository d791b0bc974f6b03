//! Events as the TCP protocol carries them: what is taken can be sent on, and a peek sees what the decoder sees.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openconnect_core::cloudevents::AttributesReader as _;
use openconnect_protocol::{json, wire};

fuzz_target!(|bytes: &[u8]| {
    let peek = wire::peek(bytes);
    let Ok(event) = wire::decode(bytes) else { return };
    if let Ok(peek) = peek {
        assert_eq!(&*peek.id, event.id());
    }
    let sent = wire::encode(&event, "topic");
    let copy = wire::decode(&sent).expect("own event");
    assert_eq!((copy.id(), copy.ty(), copy.source()), (event.id(), event.ty(), event.source()));
    assert_eq!(&*wire::peek(&sent).expect("own event").subject, "topic");
    json::decode(&json::encode(&event)).expect("own event");
});
