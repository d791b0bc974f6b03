//! A frame's header and the bodies of the session commands.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openconnect_protocol::frame::Header;
use openconnect_protocol::session::{RedirectInfo, Subscription, UserAgent};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = serde_json::from_slice::<Header>(bytes) {
        let text = serde_json::to_vec(&header).expect("a header can be written");
        let copy: Header = serde_json::from_slice(&text).expect("own header");
        assert_eq!((copy.cmd, &copy.seq, copy.code), (header.cmd, &header.seq, header.code));
    }
    if let Ok(agent) = serde_json::from_slice::<UserAgent>(bytes) {
        if let Some(password) = agent.password.as_deref().filter(|p| p.len() > 8) {
            let shown = format!("{agent:?}");
            let others = [&agent.subsystem, &agent.group, &agent.purpose, &agent.username];
            let elsewhere = others.iter().any(|text| text.as_deref().is_some_and(|text| text.contains(password)));
            assert!(elsewhere || !shown.contains(password));
        }
    }
    let _ = serde_json::from_slice::<Subscription>(bytes);
    let _ = serde_json::from_slice::<RedirectInfo>(bytes);
});
