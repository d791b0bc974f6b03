//! Any change that is written, in our format or in Debezium's, is read back as the same change.
#![allow(clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use openconnect_change::debezium::DebeziumWriter;
use openconnect_change::{Cell, Change, ChangeSource, Column, Decimals, Fields, Input, Kind, Op, TransactionOrder, native, read};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A column, the schema that Debezium has for it, and the values of both rows.
#[derive(Debug, Clone)]
struct Field {
    kind: Kind,
    schema: Value,
    before: Cell,
    after: Cell,
}

struct Place;

impl ChangeSource for Place {
    fn push_native(&self, out: &mut String) {
        out.push_str("{\"place\":\"here\"}");
    }

    fn push_debezium(&self, out: &mut String) {
        out.push_str(",\"place\":\"here\"");
    }

    fn connector(&self) -> &str {
        "test"
    }

    fn is_snapshot(&self) -> bool {
        false
    }

    fn time(&self) -> Option<DateTime<Utc>> {
        None
    }
}

fn field(kind: Kind, schema: Value, cell: impl Strategy<Value = Cell> + Clone + 'static) -> BoxedStrategy<Field> {
    let cell = prop_oneof![1 => Just(Cell::Null), 4 => cell];
    (cell.clone(), cell)
        .prop_map(move |(before, after)| Field {
            kind,
            schema: schema.clone(),
            before,
            after,
        })
        .boxed()
}

fn text(text: impl ToString) -> Cell {
    Cell::Text(text.to_string())
}

fn decimal(unscaled: i64, scale: usize) -> String {
    let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    if scale == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    }
}

fn any_field() -> impl Strategy<Value = Field> {
    let plain = json!({});
    // Seconds of the years 1000 to 9999.
    let seconds = -30_610_224_000_i64..253_402_300_800;
    let time = |format: &'static str| {
        move |(seconds, micros): (i64, u32)| text(DateTime::from_timestamp(seconds, micros * 1000).unwrap().format(format))
    };
    let whole = (seconds.clone(), Just(0_u32));
    // As many digits as the column has: the last one is not zero.
    let exact = (seconds, (0..100_000_u32).prop_map(|micros| micros * 10 + 1));
    prop_oneof![
        field(Kind::Bool, plain.clone(), any::<bool>().prop_map(text)),
        field(Kind::Integer, plain.clone(), any::<i64>().prop_map(text)),
        field(
            Kind::Double,
            plain.clone(),
            proptest::num::f64::NORMAL.prop_map(|value| text(format!("{value:?}")))
        ),
        field(Kind::Text, plain.clone(), any::<String>().prop_map(Cell::Text)),
        field(Kind::Bytes, plain.clone(), vec(any::<u8>(), 0..40).prop_map(Cell::Bytes)),
        field(
            Kind::Json,
            json!({ "name": "io.debezium.data.Json" }),
            any::<(String, f64)>().prop_map(|(key, value)| text(json!({ key: [value, null] })))
        ),
        (0..7_usize).prop_flat_map(|scale| field(
            Kind::Decimal,
            json!({ "name": "org.apache.kafka.connect.data.Decimal", "parameters": { "scale": scale.to_string() } }),
            any::<i64>().prop_map(move |unscaled| text(decimal(unscaled, scale)))
        )),
        (2..65_u32).prop_flat_map(|width| field(
            Kind::Bits { width },
            json!({ "name": "io.debezium.data.Bits" }),
            any::<u64>().prop_map(move |bits| text(bits >> (64 - width)))
        )),
        field(
            Kind::Date,
            json!({ "name": "io.debezium.time.Date" }),
            whole.clone().prop_map(time("%Y-%m-%d"))
        ),
        field(
            Kind::Time,
            json!({ "name": "io.debezium.time.MicroTime" }),
            exact.clone().prop_map(time("%H:%M:%S%.6f"))
        ),
        field(
            Kind::Timestamp,
            json!({ "name": "io.debezium.time.Timestamp" }),
            whole.prop_map(time("%Y-%m-%d %H:%M:%S"))
        ),
        field(
            Kind::Timestamp,
            json!({ "name": "io.debezium.time.MicroTimestamp" }),
            exact.clone().prop_map(time("%Y-%m-%d %H:%M:%S%.6f"))
        ),
        field(
            Kind::TimestampTz,
            json!({ "name": "io.debezium.time.ZonedTimestamp" }),
            exact.prop_map(time("%Y-%m-%d %H:%M:%S%.6f"))
        ),
    ]
}

/// What was read, as the database wrote it.
fn cell(kind: Kind, input: &Input<'_>) -> Cell {
    let raw = match input {
        Input::Null => return Cell::Null,
        Input::Text(value) | Input::Document(value) => return text(value),
        Input::Json(raw) => raw.get(),
        other => panic!("{other:?}"),
    };
    let Ok(value) = serde_json::from_str::<String>(raw) else {
        return if raw == "null" { Cell::Null } else { text(raw) };
    };
    match kind {
        Kind::Bytes => Cell::Bytes(STANDARD.decode(value).unwrap()),
        Kind::Timestamp | Kind::TimestampTz => text(value.replace('T', " ").trim_end_matches('Z')),
        _ => text(value),
    }
}

fn cells(columns: &[Column], row: Option<&Fields<'_>>) -> Option<Vec<Cell>> {
    let row = row?;
    assert_eq!(row.len(), columns.len());
    Some(
        columns
            .iter()
            .map(|column| cell(column.kind, row.get(&column.name).unwrap()))
            .collect(),
    )
}

fn check(written: &str, change: &Change<'_>) {
    let found = read(written).unwrap();
    assert_eq!(found.op, change.op, "{written}");
    assert_eq!(cells(change.columns, found.before.as_ref()).as_deref(), change.before, "{written}");
    assert_eq!(cells(change.columns, found.after.as_ref()).as_deref(), change.after, "{written}");
    assert_eq!(serde_json::from_str::<Value>(found.source.unwrap().get()).unwrap()["place"], "here");
    let transaction = found.transaction.map(|raw| serde_json::from_str::<Value>(raw.get()).unwrap());
    let order = change
        .transaction
        .map(|order| json!({ "id": order.id, "total_order": order.total, "data_collection_order": order.of_table }));
    assert_eq!(transaction, order);
}

proptest! {
    #[test]
    fn a_change_is_read_as_it_was_written(
        fields in vec((any::<String>(), any_field()), 0..8),
        op in prop_oneof![Just(Op::Create), Just(Op::Read), Just(Op::Update), Just(Op::Delete), Just(Op::Truncate)],
        numbers in option::of((any::<String>(), any::<u64>(), any::<u64>())),
        as_numbers in any::<bool>(),
    ) {
        let columns: Vec<Column> = fields.iter().enumerate().map(|(at, (name, field))| Column {
            name: format!("{at}{name}"),
            kind: field.kind,
            type_name: String::new(),
            generated: false,
        }).collect();
        let before: Vec<Cell> = fields.iter().map(|(_, field)| field.before.clone()).collect();
        let after: Vec<Cell> = fields.iter().map(|(_, field)| field.after.clone()).collect();
        let change = Change {
            op,
            columns: &columns,
            before: matches!(op, Op::Update | Op::Delete).then_some(&before[..]),
            after: matches!(op, Op::Create | Op::Read | Op::Update).then_some(&after[..]),
            transaction: numbers.as_ref().map(|(id, total, of_table)| TransactionOrder { id, total: *total, of_table: *of_table }),
        };
        let decimals = if as_numbers { Decimals::Number } else { Decimals::Text };
        check(&native::change(&change, &Place, decimals), &change);

        let row: Vec<Value> = columns.iter().zip(&fields).map(|(column, (_, field))| {
            let mut schema = field.schema.clone();
            schema["field"] = json!(column.name);
            schema
        }).collect();
        let schema = json!({ "fields": [{ "field": "before", "fields": row }, { "field": "after", "fields": row }] });
        let envelope = DebeziumWriter::new("name", "1.0.0").change(&change, &Place);
        check(&format!("{{\"schema\":{schema},\"payload\":{envelope}}}"), &change);
    }
}
