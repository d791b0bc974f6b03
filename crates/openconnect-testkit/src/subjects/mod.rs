//! Who is proved, one file a connector: how records get into its system, or how to read back what arrived.
//!
//! A new connector adds a file with an [`Input`](crate::prove::subject::Input) or an
//! [`Output`](crate::prove::subject::Output), and its line in [`ALL`]. The HTTP connectors are the other end of the pipeline.

use openconnect_fault::Failpoint;
use serde_json::{Value, json};

use crate::oracle::{Arrived, hash};
use crate::prove::fault::{Part, Trouble};
use crate::prove::subject::Subject;
use crate::services::System;

mod http;
mod lines;
mod rows;
mod sqlite;
mod tables;

const HTTP_TROUBLES: &[Trouble] = &[
    Trouble::Down,
    Trouble::Busy,
    Trouble::Throttled,
    Trouble::Poison,
    Trouble::Silent,
    Trouble::Late,
    Trouble::TooLate,
];
const WRITTEN: &[Failpoint] = &[Failpoint::Written, Failpoint::DeadLetter];

fn nothing() -> Value {
    json!({})
}

fn by_inbox() -> Value {
    json!({ "delivery": { "acknowledge": "inbox" } })
}

/// HTTP at both ends, nothing hit: what the subjects below change.
const PIPELINE: Subject = Subject {
    name: "",
    input: http::input,
    output: http::output,
    aims: &[],
    failpoints: &[],
    troubles: HTTP_TROUBLES,
    network_target: true,
    grpc: false,
    source_settings: nothing,
    sink_settings: nothing,
    server: None,
};

const TABLES: Subject = Subject {
    output: tables::postgres,
    aims: &[Part::Sink, Part::Mesh],
    failpoints: WRITTEN,
    troubles: &[Trouble::Down, Trouble::Busy, Trouble::Poison],
    server: Some(System::Postgres),
    ..PIPELINE
};

const ROWS: Subject = Subject {
    input: rows::postgres,
    aims: &[Part::Source, Part::Mesh],
    failpoints: &[Failpoint::Published, Failpoint::BeforeOffset, Failpoint::BeforeCommit],
    server: Some(System::Postgres),
    ..PIPELINE
};

/// A change of the log as its row, under the row's name.
fn as_rows() -> Value {
    json!({ "transforms": [{ "jq": ".id = .data.after.name | .data = .data.after" }] })
}

const LOG: Subject = Subject {
    input: rows::mysql_log,
    source_settings: as_rows,
    server: Some(System::MySql),
    ..ROWS
};

/// A row's key, number and text. By what is in the row, not by its id: a repeat under another id is a repeat.
fn arrived(row: &[String]) -> Arrived {
    let [key, number, text] = row else {
        return Arrived {
            id: String::new(),
            hash: hash(&[]),
        };
    };
    let data = json!({ "key": key, "number": number.parse::<u64>().unwrap_or(0), "text": text });
    Arrived {
        id: format!("{key}-{number}"),
        hash: hash(data.to_string().as_bytes()),
    }
}

/// All subjects.
pub const ALL: &[Subject] = &[
    Subject {
        name: "http-source",
        aims: &[Part::Source, Part::Mesh],
        failpoints: &[Failpoint::Published],
        ..PIPELINE
    },
    Subject {
        name: "http-source-grpc",
        aims: &[Part::Source, Part::Mesh],
        failpoints: &[Failpoint::Published],
        grpc: true,
        ..PIPELINE
    },
    Subject {
        name: "lines-source",
        input: lines::input,
        aims: &[Part::Source, Part::Mesh],
        failpoints: &[Failpoint::Published, Failpoint::BeforeOffset, Failpoint::BeforeCommit],
        ..PIPELINE
    },
    Subject {
        name: "http-sink",
        aims: &[Part::Sink, Part::Mesh],
        failpoints: WRITTEN,
        ..PIPELINE
    },
    Subject {
        name: "http-sink-inbox",
        aims: &[Part::Sink, Part::Mesh],
        failpoints: &[
            Failpoint::Written,
            Failpoint::DeadLetter,
            Failpoint::InboxAppended,
            Failpoint::InboxSynced,
            Failpoint::BeforeCheckpoint,
            Failpoint::Checkpoint,
        ],
        sink_settings: by_inbox,
        ..PIPELINE
    },
    Subject {
        name: "http-sink-grpc",
        aims: &[Part::Sink, Part::Mesh],
        failpoints: WRITTEN,
        grpc: true,
        ..PIPELINE
    },
    Subject {
        name: "jdbc-sink",
        output: sqlite::output,
        aims: &[Part::Sink, Part::Mesh],
        failpoints: WRITTEN,
        troubles: &[Trouble::Busy, Trouble::Poison],
        network_target: false,
        ..PIPELINE
    },
    Subject {
        name: "jdbc-sink-postgres",
        ..TABLES
    },
    Subject {
        name: "jdbc-sink-mysql",
        output: tables::mysql,
        server: Some(System::MySql),
        ..TABLES
    },
    Subject {
        name: "jdbc-sink-mariadb",
        output: tables::mariadb,
        server: Some(System::MariaDb),
        ..TABLES
    },
    Subject {
        name: "jdbc-source-postgres",
        ..ROWS
    },
    Subject {
        name: "jdbc-source-mysql",
        input: rows::mysql,
        server: Some(System::MySql),
        ..ROWS
    },
    Subject {
        name: "jdbc-source-mariadb",
        input: rows::mariadb,
        server: Some(System::MariaDb),
        ..ROWS
    },
    Subject {
        name: "mysql-cdc-source",
        ..LOG
    },
    Subject {
        name: "mysql-cdc-source-mariadb",
        input: rows::mariadb_log,
        server: Some(System::MariaDb),
        ..LOG
    },
    // `cargo xtask new` adds here.
    Subject {
        name: "mesh",
        aims: &[Part::Mesh],
        failpoints: &[
            Failpoint::MeshBeforeAppend,
            Failpoint::MeshAppended,
            Failpoint::MeshAcknowledged,
            Failpoint::MeshBeforeCursors,
        ],
        ..PIPELINE
    },
];

/// The subject of a name.
pub fn by_name(name: &str) -> Option<&'static Subject> {
    ALL.iter().find(|subject| subject.name == name)
}
