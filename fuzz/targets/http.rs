//! Header values of the HTTP binding: what is decoded is what was encoded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openconnect_core::cloudevents::{EventBuilder as _, EventBuilderV10};
use openconnect_protocol::http;

fuzz_target!(|bytes: &[u8]| {
    let Some(text) = http::decode(bytes) else { return };
    let event = EventBuilderV10::new().id("1").source("/").ty("t").extension("fuzzed", text.clone());
    let Ok(event) = event.build() else { return };
    for (name, value) in http::binary_headers(&event) {
        assert!(value.bytes().all(|byte| (b' '..0x7f).contains(&byte)), "{name}: {value:?}");
        if name.ends_with("fuzzed") {
            assert_eq!(http::decode(value.as_bytes()).as_deref(), Some(text.as_str()));
        }
    }
});
