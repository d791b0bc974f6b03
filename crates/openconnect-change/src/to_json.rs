//! Values as JSON, without loss.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use crate::cell::{Cell, Column};
use crate::kind::{Decimals, Kind};
use crate::time::to_rfc3339;

/// Appends a value as JSON.
pub fn push_json(out: &mut String, kind: Kind, decimals: Decimals, cell: &Cell) {
    match cell {
        Cell::Null => out.push_str("null"),
        Cell::Integer(value @ (0 | 1)) if matches!(kind, Kind::Bool | Kind::Bits { width: 1 }) => {
            out.push_str(if *value == 1 { "true" } else { "false" })
        }
        // A text takes everything.
        Cell::Integer(value) => drop(write!(out, "{value}")),
        Cell::Real(value) => match serde_json::Number::from_f64(*value) {
            Some(number) => out.push_str(&number.to_string()),
            None => push_text(out, special(*value)),
        },
        Cell::Bytes(bytes) => {
            out.push('"');
            STANDARD.encode_string(bytes, out);
            out.push('"');
        }
        Cell::Text(text) => push_by_kind(out, kind, decimals, text),
    }
}

/// About how long a row is as JSON.
pub fn row_size(columns: &[Column], cells: &[Cell]) -> usize {
    let values: usize = cells.iter().map(Cell::size).sum();
    values + columns.iter().map(|column| column.name.len() + 8).sum::<usize>() + 2
}

/// A row as a JSON object.
pub fn row_json(columns: &[Column], cells: &[Cell], decimals: Decimals) -> String {
    let mut out = String::with_capacity(row_size(columns, cells));
    push_row(&mut out, columns, cells, decimals);
    out
}

/// Appends a row as a JSON object.
pub fn push_row(out: &mut String, columns: &[Column], cells: &[Cell], decimals: Decimals) {
    let mut lead = '{';
    for (column, cell) in columns.iter().zip(cells) {
        out.push(lead);
        push_text(out, &column.name);
        out.push(':');
        push_json(out, column.kind, decimals, cell);
        lead = ',';
    }
    out.push_str(if lead == '{' { "{}" } else { "}" });
}

/// A text as JSON.
pub fn json_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_text(&mut out, text);
    out
}

fn push_by_kind(out: &mut String, kind: Kind, decimals: Decimals, text: &str) {
    match kind {
        Kind::Bool if matches!(text, "true" | "false") => out.push_str(text),
        Kind::Bits { width: 1 } if matches!(text, "0" | "1") => out.push_str(if text == "1" { "true" } else { "false" }),
        Kind::Integer | Kind::Double | Kind::Bits { .. } => push_number(out, plain_number(text)),
        Kind::Decimal if decimals == Decimals::Number => push_number(out, plain_number(text)),
        Kind::Decimal => push_text(out, plain_number(text)),
        // The text may have the digits of a double.
        Kind::Float => match text.parse::<f32>().map(|value| serde_json::to_string(&value)) {
            Ok(Ok(number)) if number != "null" => out.push_str(&number),
            _ => push_text(out, text),
        },
        Kind::Json | Kind::Array if serde_json::from_str::<&RawValue>(text).is_ok() => out.push_str(text),
        Kind::Timestamp => push_text(out, &to_rfc3339(text, false)),
        Kind::TimestampTz => push_text(out, &to_rfc3339(text, true)),
        _ => push_text(out, text),
    }
}

fn push_number(out: &mut String, text: &str) {
    if is_number(text) {
        out.push_str(text);
    } else {
        push_text(out, text);
    }
}

/// Without the zeros before it that MySQL writes for `zerofill` and for the year 0.
pub fn plain_number(text: &str) -> &str {
    let mut rest = text;
    while let Some(behind) = rest
        .strip_prefix('0')
        .filter(|behind| behind.starts_with(|c: char| c.is_ascii_digit()))
    {
        rest = behind;
    }
    rest
}

/// As JSON's grammar has it: no leading zeros, no lone dots, no `NaN`.
fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && serde_json::from_str::<&RawValue>(text).is_ok()
}

fn special(value: f64) -> &'static str {
    match (value.is_nan(), value > 0.0) {
        (true, _) => "NaN",
        (false, true) => "Infinity",
        (false, false) => "-Infinity",
    }
}

/// Appends a text as JSON.
pub fn push_text(out: &mut String, text: &str) {
    // A piece is looked at as a whole: that takes a tenth of the time of stopping at the first byte.
    let plain = |piece: &[u8]| {
        piece
            .iter()
            .fold(true, |all, &byte| all & (byte >= 0x20) & (byte != b'"') & (byte != b'\\'))
    };
    if text.as_bytes().chunks(64).all(plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
        return;
    }
    // A String takes all that is written to it.
    let _ = write!(out, "{}", serde_json::Value::from(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(kind: Kind, decimals: Decimals, text: &str) -> String {
        let mut out = String::new();
        push_json(&mut out, kind, decimals, &Cell::Text(text.to_owned()));
        out
    }

    #[test]
    fn what_json_has_no_form_for_is_text() {
        assert_eq!(json(Kind::Double, Decimals::Text, "NaN"), "\"NaN\"");
        assert_eq!(json(Kind::Double, Decimals::Text, "1e+20"), "1e+20");
        assert_eq!(json(Kind::Float, Decimals::Text, "0.10000000149011612"), "0.1");
        assert_eq!(json(Kind::Float, Decimals::Text, "Infinity"), "\"Infinity\"");
        assert_eq!(json(Kind::Integer, Decimals::Text, "18446744073709551615"), "18446744073709551615");
        assert_eq!(json(Kind::Integer, Decimals::Text, "00042"), "42");
        assert_eq!(json(Kind::Integer, Decimals::Text, "0000"), "0");
        assert_eq!(json(Kind::Integer, Decimals::Text, "0"), "0");
        assert_eq!(json(Kind::Integer, Decimals::Text, "-7"), "-7");
        let long = "12345678901234567890123456789012345.123456789012345678901234567890";
        assert_eq!(json(Kind::Decimal, Decimals::Text, long), format!("\"{long}\""));
        assert_eq!(json(Kind::Decimal, Decimals::Number, long), long);
        assert_eq!(json(Kind::Decimal, Decimals::Text, "00001.50"), "\"1.50\"");
        assert_eq!(json(Kind::Decimal, Decimals::Number, "000.00"), "0.00");
        assert_eq!(json(Kind::Json, Decimals::Text, "{\"a\":1.50}"), "{\"a\":1.50}");
        assert_eq!(json(Kind::Json, Decimals::Text, "{broken"), "\"{broken\"");
        assert_eq!(json(Kind::Bits { width: 1 }, Decimals::Text, "1"), "true");
    }
}
