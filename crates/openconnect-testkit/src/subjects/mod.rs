//! What subjects of the proof are made of: HTTP at both ends, a file of lines or a topic with questions for sources and a folder of
//! files for staging sinks that have no system of their own.
//!
//! A subject lies beside its connector, in `prove.rs`; it changes one end of [`PIPELINE`] and leaves the other as it is.

use openconnect_fault::Failpoint;
use serde_json::{Value, json};

use crate::prove::RECOVERY;
use crate::prove::fault::Trouble;
use crate::prove::subject::Subject;

pub mod answers;
pub mod files;
pub mod http;
pub mod lines;

/// What an HTTP endpoint can do.
pub const HTTP_TROUBLES: &[Trouble] = &[
    Trouble::Down,
    Trouble::Busy,
    Trouble::Throttled,
    Trouble::Poison,
    Trouble::Silent,
    Trouble::Late,
    Trouble::TooLate,
];

/// The failpoints that every sink comes to.
pub const SINK_FAILPOINTS: &[Failpoint] = &[Failpoint::Written, Failpoint::DeadLetter];

/// The failpoints that every source with positions comes to.
pub const SOURCE_FAILPOINTS: &[Failpoint] = &[Failpoint::Published, Failpoint::BeforeOffset, Failpoint::BeforeCommit];

/// The failpoints that every source with an input comes to, when some of its events have no answer.
pub const INPUT_FAILPOINTS: &[Failpoint] = &[Failpoint::Published, Failpoint::Answered, Failpoint::InputDeadLetter];

/// No settings beside the kit's.
pub fn no_settings() -> Value {
    json!({})
}

/// A sink that acknowledges when the event is in its inbox.
pub fn by_inbox() -> Value {
    json!({ "delivery": { "acknowledge": "inbox" } })
}

/// A source whose events are safe when they are in its spool.
pub fn by_spool() -> Value {
    json!({ "source": { "accept": "spool" } })
}

/// HTTP source, mesh, HTTP sink; nothing is hit.
pub const PIPELINE: Subject = Subject {
    name: "",
    input: http::input,
    output: http::output,
    aims: &[],
    failpoints: &[],
    troubles: HTTP_TROUBLES,
    network_target: true,
    grpc: false,
    source_settings: no_settings,
    sink_settings: no_settings,
    service: None,
    recovery: RECOVERY,
};
