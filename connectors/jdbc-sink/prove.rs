//! The JDBC sink in the proof of delivery: an SQLite table with a key, and tables of servers without one, where a repeat is a row.

use std::process::ExitCode;

use openconnect_sql_fixtures::System;
use openconnect_sql_fixtures::prove::{sqlite, tables};
use openconnect_testkit::prove;
use openconnect_testkit::prove::fault::{Part, Trouble};
use openconnect_testkit::prove::subject::Subject;
use openconnect_testkit::subjects::{PIPELINE, SINK_FAILPOINTS};

const SINK: Subject = Subject {
    name: "jdbc-sink",
    output: sqlite::output,
    aims: &[Part::Sink, Part::Mesh],
    failpoints: SINK_FAILPOINTS,
    troubles: &[Trouble::Busy, Trouble::Poison],
    network_target: false,
    ..PIPELINE
};

const POSTGRES: Subject = Subject {
    name: "jdbc-sink-postgres",
    output: tables::postgres,
    troubles: &[Trouble::Down, Trouble::Busy, Trouble::Poison],
    network_target: true,
    service: Some(System::Postgres.service()),
    ..SINK
};

const SUBJECTS: &[Subject] = &[
    SINK,
    POSTGRES,
    Subject {
        name: "jdbc-sink-mysql",
        output: tables::mysql,
        service: Some(System::MySql.service()),
        ..POSTGRES
    },
    Subject {
        name: "jdbc-sink-mariadb",
        output: tables::mariadb,
        service: Some(System::MariaDb.service()),
        ..POSTGRES
    },
];

fn main() -> ExitCode {
    prove::main(env!("CARGO_MANIFEST_DIR"), SUBJECTS)
}
