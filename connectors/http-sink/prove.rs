//! The HTTP sink in the proof of delivery: an endpoint keeps what was posted to it, and makes trouble.

use std::process::ExitCode;

use openconnect_testkit::prove::fault::Part;
use openconnect_testkit::prove::subject::Subject;
use openconnect_testkit::prove::{self, Failpoint};
use openconnect_testkit::subjects::{PIPELINE, SINK_FAILPOINTS, by_inbox};

const SINK: Subject = Subject {
    name: "http-sink",
    aims: &[Part::Sink, Part::Mesh],
    failpoints: SINK_FAILPOINTS,
    ..PIPELINE
};

const SUBJECTS: &[Subject] = &[
    SINK,
    Subject {
        name: "http-sink-inbox",
        failpoints: &[
            Failpoint::Written,
            Failpoint::DeadLetter,
            Failpoint::InboxAppended,
            Failpoint::InboxSynced,
            Failpoint::BeforeCheckpoint,
            Failpoint::Checkpoint,
        ],
        sink_settings: by_inbox,
        ..SINK
    },
    Subject {
        name: "http-sink-grpc",
        grpc: true,
        ..SINK
    },
];

fn main() -> ExitCode {
    prove::main(env!("CARGO_MANIFEST_DIR"), SUBJECTS)
}
