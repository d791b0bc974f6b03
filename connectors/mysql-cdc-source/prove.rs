//! The CDC source in the proof of delivery: the log of a table in which rows appear out of order, on a server that is killed once.

use std::process::ExitCode;

use openconnect_sql_fixtures::System;
use openconnect_sql_fixtures::prove::rows;
use openconnect_testkit::prove;
use openconnect_testkit::prove::fault::Part;
use openconnect_testkit::prove::subject::Subject;
use openconnect_testkit::subjects::{PIPELINE, SOURCE_FAILPOINTS};
use serde_json::{Value, json};

/// Makes a change of the log the row that it is about, under the row's name.
fn as_rows() -> Value {
    json!({ "transforms": [{ "jq": ".id = .data.after.name | .data = .data.after" }] })
}

const MYSQL: Subject = Subject {
    name: "mysql-cdc-source",
    input: rows::mysql_log,
    aims: &[Part::Source, Part::Mesh],
    failpoints: SOURCE_FAILPOINTS,
    source_settings: as_rows,
    service: Some(System::MySql.service()),
    ..PIPELINE
};

const SUBJECTS: &[Subject] = &[
    MYSQL,
    Subject {
        name: "mysql-cdc-source-mariadb",
        input: rows::mariadb_log,
        service: Some(System::MariaDb.service()),
        ..MYSQL
    },
];

fn main() -> ExitCode {
    prove::main(env!("CARGO_MANIFEST_DIR"), SUBJECTS)
}
