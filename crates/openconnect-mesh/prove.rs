//! The mesh in the proof of delivery, between the HTTP source and the HTTP sink.

use std::process::ExitCode;

use openconnect_testkit::prove::fault::Part;
use openconnect_testkit::prove::subject::Subject;
use openconnect_testkit::prove::{self, Failpoint};
use openconnect_testkit::subjects::PIPELINE;

const SUBJECTS: &[Subject] = &[Subject {
    name: "mesh",
    aims: &[Part::Mesh],
    failpoints: &[
        Failpoint::MeshBeforeAppend,
        Failpoint::MeshAppended,
        Failpoint::MeshAcknowledged,
        Failpoint::MeshBeforeCursors,
    ],
    ..PIPELINE
}];

fn main() -> ExitCode {
    prove::main(env!("CARGO_MANIFEST_DIR"), SUBJECTS)
}
