//! Both formats, letter for letter: users parse them.
#![allow(clippy::unwrap_used)]

use chrono::{DateTime, Utc};
use openconnect_change::debezium::DebeziumWriter;
use openconnect_change::{Cell, Change, ChangeSource, Column, Decimals, Kind, Op, TransactionOrder, native};

struct Place;

impl ChangeSource for Place {
    fn push_native(&self, out: &mut String) {
        out.push_str("{\"db\":\"shop\"}");
    }

    fn push_debezium(&self, out: &mut String) {
        out.push_str(",\"db\":\"shop\"");
    }

    fn connector(&self) -> &str {
        "mysql"
    }

    fn is_snapshot(&self) -> bool {
        false
    }

    fn time(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(1_700_000_000, 0)
    }
}

fn column(name: &str, kind: Kind) -> Column {
    Column {
        name: name.to_owned(),
        kind,
        type_name: String::new(),
        generated: false,
    }
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

#[test]
fn a_change_looks_as_it_always_did() {
    let columns = [
        column("id", Kind::Integer),
        column("total", Kind::Decimal),
        column("at", Kind::Timestamp),
        column("on", Kind::Bits { width: 1 }),
        column("data", Kind::Bytes),
        column("doc", Kind::Json),
    ];
    let row = [
        text("7"),
        text("1.50"),
        text("2024-01-31 12:00:00"),
        text("1"),
        Cell::Bytes(vec![0, 1]),
        text("{\"a\":1.0}"),
    ];
    let change = Change {
        op: Op::Delete,
        columns: &columns,
        before: Some(&row),
        after: None,
        transaction: Some(TransactionOrder {
            id: "g:1",
            total: 2,
            of_table: 1,
        }),
    };
    let transaction = r#"{"id":"g:1","total_order":2,"data_collection_order":1}"#;
    let ours = r#"{"id":7,"total":"1.50","at":"2024-01-31T12:00:00","on":true,"data":"AAE=","doc":{"a":1.0}}"#;
    assert_eq!(
        native::change(&change, &Place, Decimals::Text),
        format!(r#"{{"op":"d","before":{ours},"after":null,"source":{{"db":"shop"}},"transaction":{transaction}}}"#)
    );
    let theirs = r#"{"id":7,"total":"AJY=","at":1706702400000,"on":true,"data":"AAE=","doc":"{\"a\":1.0}"}"#;
    let source = r#"{"version":"1.0.0","connector":"mysql","name":"orders","snapshot":"false","db":"shop","ts_ms":1700000000000,"ts_us":1700000000000000,"ts_ns":1700000000000000000}"#;
    let written = DebeziumWriter::new("orders", "1.0.0").change(&change, &Place);
    let (before_now, _) = written.rsplit_once(",\"ts_ms\":").unwrap();
    assert_eq!(
        before_now,
        format!(r#"{{"before":{theirs},"after":null,"source":{source},"transaction":{transaction},"op":"d""#)
    );
}

#[test]
fn a_statement_looks_as_it_always_did() {
    assert_eq!(
        native::schema_change("drop table \"t\"", "shop", &Place),
        r#"{"ddl":"drop table \"t\"","database":"shop","source":{"db":"shop"}}"#
    );
    let written = DebeziumWriter::new("orders", "1.0.0").schema_change("drop table t", "shop", &Place);
    assert!(
        written.starts_with(r#"{"source":{"version":"1.0.0","#)
            && written.ends_with(r#","databaseName":"shop","schemaName":null,"ddl":"drop table t","tableChanges":[]}"#),
        "{written}"
    );
}
