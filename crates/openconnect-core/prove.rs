//! The core's examples in the proof of delivery.

use std::process::ExitCode;

use openconnect_testkit::prove;
use openconnect_testkit::prove::fault::Part;
use openconnect_testkit::prove::subject::Subject;
use openconnect_testkit::subjects::{PIPELINE, SOURCE_FAILPOINTS, lines};

const SUBJECTS: &[Subject] = &[Subject {
    name: "lines-source",
    input: lines::input,
    aims: &[Part::Source, Part::Mesh],
    failpoints: SOURCE_FAILPOINTS,
    ..PIPELINE
}];

fn main() -> ExitCode {
    prove::main(env!("CARGO_MANIFEST_DIR"), SUBJECTS)
}
