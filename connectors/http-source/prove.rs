//! The HTTP source in the proof of delivery: a client posts events, and counts those that were answered with success.

use std::process::ExitCode;

use openconnect_testkit::prove::fault::Part;
use openconnect_testkit::prove::subject::Subject;
use openconnect_testkit::prove::{self, Failpoint};
use openconnect_testkit::subjects::{PIPELINE, by_spool};

const SOURCE: Subject = Subject {
    name: "http-source",
    aims: &[Part::Source, Part::Mesh],
    failpoints: &[Failpoint::Published],
    ..PIPELINE
};

const SUBJECTS: &[Subject] = &[
    SOURCE,
    Subject {
        name: "http-source-grpc",
        grpc: true,
        ..SOURCE
    },
    Subject {
        name: "http-source-spool",
        source_settings: by_spool,
        failpoints: &[
            Failpoint::Published,
            Failpoint::InboxAppended,
            Failpoint::InboxSynced,
            Failpoint::BeforeCheckpoint,
            Failpoint::Checkpoint,
        ],
        ..SOURCE
    },
];

fn main() -> ExitCode {
    prove::main(env!("CARGO_MANIFEST_DIR"), SUBJECTS)
}
