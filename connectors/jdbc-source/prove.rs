//! The JDBC source in the proof of delivery: a table in which rows appear out of order, on a server that is killed once.

use std::process::ExitCode;

use openconnect_sql_fixtures::System;
use openconnect_sql_fixtures::prove::rows;
use openconnect_testkit::prove;
use openconnect_testkit::prove::fault::Part;
use openconnect_testkit::prove::subject::Subject;
use openconnect_testkit::subjects::{PIPELINE, SOURCE_FAILPOINTS};

const POSTGRES: Subject = Subject {
    name: "jdbc-source-postgres",
    input: rows::postgres,
    aims: &[Part::Source, Part::Mesh],
    failpoints: SOURCE_FAILPOINTS,
    service: Some(System::Postgres.service()),
    ..PIPELINE
};

const SUBJECTS: &[Subject] = &[
    POSTGRES,
    Subject {
        name: "jdbc-source-mysql",
        input: rows::mysql,
        service: Some(System::MySql.service()),
        ..POSTGRES
    },
    Subject {
        name: "jdbc-source-mariadb",
        input: rows::mariadb,
        service: Some(System::MariaDb.service()),
        ..POSTGRES
    },
];

fn main() -> ExitCode {
    prove::main(env!("CARGO_MANIFEST_DIR"), SUBJECTS)
}
