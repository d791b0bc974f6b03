//! The core's examples in the proof of delivery.

use std::process::ExitCode;

use openconnect_fault::Failpoint;
use openconnect_testkit::prove;
use openconnect_testkit::prove::fault::Part;
use openconnect_testkit::prove::subject::Subject;
use openconnect_testkit::subjects::{INPUT_FAILPOINTS, PIPELINE, SOURCE_FAILPOINTS, answers, files, lines};

const SUBJECTS: &[Subject] = &[
    Subject {
        name: "lines-source",
        input: lines::input,
        aims: &[Part::Source, Part::Mesh],
        failpoints: SOURCE_FAILPOINTS,
        ..PIPELINE
    },
    Subject {
        name: "answers-source",
        input: answers::input,
        source_settings: answers::settings,
        aims: &[Part::Source, Part::Mesh],
        failpoints: INPUT_FAILPOINTS,
        ..PIPELINE
    },
    Subject {
        name: "answers-source-inbox",
        input: answers::input,
        source_settings: answers::settings_by_inbox,
        aims: &[Part::Source, Part::Mesh],
        failpoints: &[
            Failpoint::Published,
            Failpoint::Answered,
            Failpoint::InputDeadLetter,
            Failpoint::InboxAppended,
            Failpoint::InboxSynced,
            Failpoint::BeforeCheckpoint,
            Failpoint::Checkpoint,
        ],
        ..PIPELINE
    },
    Subject {
        name: "files-sink",
        output: files::output,
        aims: &[Part::Sink, Part::Mesh],
        failpoints: &[
            Failpoint::BeforeStage,
            Failpoint::Staged,
            Failpoint::BeforeSealRecord,
            Failpoint::SealRecorded,
            Failpoint::Sealed,
            Failpoint::SealResolved,
            Failpoint::BeforeDiscard,
            Failpoint::Discarded,
            Failpoint::InboxAppended,
            Failpoint::InboxSynced,
            Failpoint::BeforeCheckpoint,
            Failpoint::Checkpoint,
        ],
        troubles: &[],
        network_target: false,
        ..PIPELINE
    },
];

fn main() -> ExitCode {
    prove::main(env!("CARGO_MANIFEST_DIR"), SUBJECTS)
}
