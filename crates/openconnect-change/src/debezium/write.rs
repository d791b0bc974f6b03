//! Writes Debezium's format: its envelope, and its numbers for decimals and times (as its JSON converter writes them without
//! schemas).
//! Facts: Debezium's documentation of the MySQL connector, "Data type mappings", with its default settings.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

use crate::cell::{Cell, Column};
use crate::change::{Change, ChangeSource};
use crate::kind::{Decimals, Kind};
use crate::to_json::{json_text, push_json, push_text, row_size};

/// About how long an event is without its rows, in bytes.
const ENVELOPE: usize = 512;

/// Writes Debezium's envelopes.
#[derive(Debug, Clone)]
pub struct DebeziumWriter {
    name: String,
    version: &'static str,
}

impl DebeziumWriter {
    /// `name` is what Debezium calls the topic's prefix, `version` that of the connector; both stand in `source`.
    pub fn new(name: impl Into<String>, version: &'static str) -> Self {
        Self {
            name: name.into(),
            version,
        }
    }

    /// A change as JSON.
    pub fn change(&self, change: &Change<'_>, source: &impl ChangeSource) -> String {
        let now = Utc::now();
        let size: usize = [change.before, change.after]
            .iter()
            .flatten()
            .map(|row| row_size(change.columns, row))
            .sum();
        let mut out = String::with_capacity(size + ENVELOPE);
        for (lead, row) in ["{\"before\":", ",\"after\":"].into_iter().zip([change.before, change.after]) {
            out.push_str(lead);
            match row {
                Some(row) => push_row(&mut out, change.columns, row),
                None => out.push_str("null"),
            }
        }
        out.push_str(",\"source\":");
        self.push_source(&mut out, source, now);
        out.push_str(",\"transaction\":");
        match &change.transaction {
            Some(transaction) => transaction.push_json(&mut out),
            None => out.push_str("null"),
        }
        out.push_str(",\"op\":\"");
        out.push_str(change.op.as_str());
        out.push_str("\",");
        push_times(&mut out, now);
        out.push('}');
        out
    }

    /// A statement that changed a table as JSON.
    pub fn schema_change(&self, statement: &str, database: &str, source: &impl ChangeSource) -> String {
        let now = Utc::now();
        let mut out = String::from("{\"source\":");
        self.push_source(&mut out, source, now);
        // Writing to a text cannot fail.
        let _ = write!(
            out,
            ",\"ts_ms\":{},\"databaseName\":{},\"schemaName\":null,\"ddl\":{},\"tableChanges\":[]}}",
            now.timestamp_millis(),
            json_text(database),
            json_text(statement),
        );
        out
    }

    fn push_source(&self, out: &mut String, source: &impl ChangeSource, now: DateTime<Utc>) {
        let _ = write!(
            out,
            "{{\"version\":\"{}\",\"connector\":\"{}\",\"name\":",
            self.version,
            source.connector()
        );
        push_text(out, &self.name);
        let _ = write!(out, ",\"snapshot\":\"{}\"", source.is_snapshot());
        source.push_debezium(out);
        out.push(',');
        push_times(out, source.time().unwrap_or(now));
        out.push('}');
    }
}

fn push_times(out: &mut String, time: DateTime<Utc>) {
    let _ = write!(
        out,
        "\"ts_ms\":{},\"ts_us\":{},\"ts_ns\":{}",
        time.timestamp_millis(),
        time.timestamp_micros(),
        time.timestamp_nanos_opt().unwrap_or(0)
    );
}

/// Appends a row as a JSON object.
fn push_row(out: &mut String, columns: &[Column], cells: &[Cell]) {
    let mut lead = '{';
    for (column, cell) in columns.iter().zip(cells) {
        out.push(lead);
        push_text(out, &column.name);
        out.push(':');
        match value(column, cell) {
            Some(text) => out.push_str(&text),
            None => push_json(out, column.kind, Decimals::Text, cell),
        }
        lead = ',';
    }
    out.push_str(if lead == '{' { "{}" } else { "}" });
}

/// A value that Debezium writes differently from our format.
fn value(column: &Column, cell: &Cell) -> Option<String> {
    if let (Cell::Bytes(bytes), "vector") = (cell, column.type_name.as_str()) {
        return Some(vector(bytes));
    }
    if let (Cell::Bytes(bytes), true) = (cell, is_geometry(&column.type_name)) {
        return geometry(bytes);
    }
    let text = match cell {
        Cell::Text(text) => Cow::Borrowed(text.as_str()),
        Cell::Integer(number) if matches!(column.kind, Kind::Bits { .. }) => Cow::Owned(number.to_string()),
        _ => return None,
    };
    let text = &*text;
    match column.kind {
        Kind::Decimal => Some(quoted_bytes(&unscaled(text))),
        Kind::Integer => text.parse::<u64>().ok().filter(|number| *number > i64::MAX as u64).map(wrapped),
        Kind::Bits { width: width @ 2.. } => {
            let number: u64 = text.parse().ok()?;
            let bytes = number.to_le_bytes();
            Some(quoted_bytes(bytes.get(..width.div_ceil(8) as usize)?))
        }
        Kind::Json => Some(json_text(text)),
        // A whole number is a double all the same.
        Kind::Double if text.bytes().all(|c| c == b'-' || c.is_ascii_digit()) => Some(format!("{text}.0")),
        // What is no time in the calendar is null.
        Kind::Date => Some(or_null(days(text))),
        Kind::Time => Some(or_null(duration_micros(text))),
        Kind::Timestamp => Some(or_null(since_1970(text))),
        Kind::TimestampTz if text.starts_with("0000") => Some("null".to_owned()),
        _ => None,
    }
}

fn or_null(number: Option<i64>) -> String {
    number.map_or_else(|| "null".to_owned(), |number| number.to_string())
}

/// As a signed number, which is what Debezium makes of it (`bigint.unsigned.handling.mode=long`).
#[allow(clippy::cast_possible_wrap)]
fn wrapped(number: u64) -> String {
    (number as i64).to_string()
}

fn quoted_bytes(bytes: &[u8]) -> String {
    format!("\"{}\"", STANDARD.encode(bytes))
}

fn days(text: &str) -> Option<i64> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some((date - NaiveDate::default()).num_days())
}

/// Milliseconds with up to three digits of a second, microseconds with more.
fn since_1970(text: &str) -> Option<i64> {
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok()?.and_utc();
    let digits = text.split_once('.').map_or(0, |(_, digits)| digits.len());
    Some(if digits > 3 {
        time.timestamp_micros()
    } else {
        time.timestamp_millis()
    })
}

/// `-838:59:59.000000`.
fn duration_micros(text: &str) -> Option<i64> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
    let (time, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut seconds = 0_i64;
    for part in time.split(':') {
        seconds = seconds * 60 + part.parse::<i64>().ok()?;
    }
    let micros: i64 = format!("{fraction:0<6}").parse().ok()?;
    Some(sign * (seconds * 1_000_000 + micros))
}

/// The digits as one number without a point: big-endian, two's complement, as short as it goes.
fn unscaled(text: &str) -> Vec<u8> {
    let negative = text.starts_with('-');
    // The lowest byte first.
    let mut bytes = vec![0_u8];
    for digit in text.bytes().filter(u8::is_ascii_digit) {
        let mut carry = u32::from(digit - b'0');
        for byte in &mut bytes {
            let number = u32::from(*byte) * 10 + carry;
            [*byte, ..] = number.to_le_bytes();
            carry = number >> 8;
        }
        if carry > 0 {
            bytes.push(carry.to_le_bytes()[0]);
        }
    }
    // Room for the sign.
    bytes.push(0);
    if negative {
        let mut carry = true;
        for byte in &mut bytes {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    let sign_only = |high: u8, next: u8| (high == 0 && next < 0x80) || (high == 0xff && next >= 0x80);
    while let [.., next, high] = bytes[..]
        && sign_only(high, next)
    {
        bytes.pop();
    }
    bytes.reverse();
    bytes
}

/// Its numbers of single precision, the lowest byte first in each.
fn vector(bytes: &[u8]) -> String {
    let number = |bytes: &[u8; 4]| serde_json::to_string(&f32::from_le_bytes(*bytes)).unwrap_or_default();
    let numbers: Vec<String> = bytes.as_chunks().0.iter().map(number).collect();
    format!("[{}]", numbers.join(","))
}

fn is_geometry(ty: &str) -> bool {
    ["geometry", "point", "linestring", "polygon", "multi", "geom"]
        .iter()
        .any(|name| ty.starts_with(name))
}

/// MySQL's form: the reference system's number, then the well-known binary form.
fn geometry(bytes: &[u8]) -> Option<String> {
    let (srid, wkb) = bytes.split_first_chunk::<4>()?;
    let srid = match u32::from_le_bytes(*srid) {
        0 => "null".to_owned(),
        number => number.to_string(),
    };
    Some(format!("{{\"wkb\":{},\"srid\":{srid}}}", quoted_bytes(wkb)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_numbers_without_a_point() {
        for (text, bytes) in [
            ("0", &[0_u8][..]),
            ("1.27", &[0x7f]),
            ("1.28", &[0, 0x80]),
            ("-1.28", &[0x80]),
            ("-1.29", &[0xff, 0x7f]),
            ("-0.01", &[0xff]),
            ("655.36", &[1, 0, 0]),
        ] {
            assert_eq!(unscaled(text), bytes, "{text}");
        }
    }

    #[test]
    fn times_are_numbers() {
        assert_eq!(days("1970-01-02"), Some(1));
        assert_eq!(days("0000-00-00"), None);
        assert_eq!(duration_micros("-00:00:00.5"), Some(-500_000));
        assert_eq!(duration_micros("-838:59:59"), Some(-3_020_399_000_000));
        assert_eq!(since_1970("1970-01-01 00:00:01.500"), Some(1500));
        assert_eq!(since_1970("1970-01-01 00:00:01.5000"), Some(1_500_000));
    }
}
