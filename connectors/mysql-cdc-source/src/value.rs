//! Values of the log as the database would write them.

use chrono::DateTime;
use mysql_async::Value;
use mysql_async::binlog::value::BinlogValue;
use mysql_async::consts::ColumnType;
use openconnect_change::Cell;

use crate::charset::{BINARY, Charsets};
use crate::json;
use crate::table::LogColumn;

/// The value as the database would write it; why it can't be read otherwise. `before` is the column's value before the change.
pub(crate) fn cell(column: &LogColumn, charsets: &Charsets, value: BinlogValue<'_>, before: Option<&Cell>) -> Result<Cell, &'static str> {
    let value = match value {
        BinlogValue::Value(value) => value,
        BinlogValue::Jsonb(document) => return json::text(document).map(Cell::Text),
        BinlogValue::JsonDiff(diffs) => {
            let document = before.and_then(Cell::text).ok_or("its JSON is a partial update of nothing")?;
            return json::apply(document, &diffs).map(Cell::Text);
        }
    };
    let digits = usize::from(column.meta.first().copied().unwrap_or(0));
    Ok(match value {
        Value::NULL => Cell::Null,
        Value::Int(number) if column.ty == ColumnType::MYSQL_TYPE_ENUM => choice(column, charsets, number)?,
        // Before MySQL 5.6.
        Value::Int(number) if column.ty == ColumnType::MYSQL_TYPE_TIMESTAMP => timestamp(&number.to_string(), 0)?,
        // The driver leaves the sign of three bytes out.
        Value::Int(number) if column.ty == ColumnType::MYSQL_TYPE_INT24 && !column.unsigned && number >= 1 << 23 => {
            Cell::Integer(number - (1 << 24))
        }
        Value::Int(number) => Cell::Integer(number),
        Value::UInt(number) => match i64::try_from(number) {
            Ok(number) => Cell::Integer(number),
            Err(_) => Cell::Text(number.to_string()),
        },
        Value::Float(number) => Cell::Text(number.to_string()),
        // As the server writes it: `100`, not `100.0`.
        Value::Double(number) if number.fract() == 0.0 && number.abs() < 1e15 => Cell::Text(format!("{number:.0}")),
        Value::Double(number) => Cell::Real(number),
        Value::Date(year, month, day, hour, minute, second, micros) => {
            let mut text = String::with_capacity(26);
            push_digits(&mut text, year.into(), 4);
            for part in [month, day] {
                text.push('-');
                push_digits(&mut text, part.into(), 2);
            }
            if !matches!(column.ty, ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE) {
                for (lead, part) in [(' ', hour), (':', minute), (':', second)] {
                    text.push(lead);
                    push_digits(&mut text, part.into(), 2);
                }
                text.push_str(&fraction(micros, digits));
            }
            Cell::Text(text)
        }
        Value::Time(negative, days, hours, minutes, seconds, micros) => {
            let sign = if negative { "-" } else { "" };
            let hours = days * 24 + u32::from(hours);
            let fraction = fraction(micros, if column.ty == ColumnType::MYSQL_TYPE_TIME2 { digits } else { 0 });
            Cell::Text(format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{fraction}"))
        }
        Value::Bytes(bytes) => from_bytes(column, charsets, bytes, digits)?,
    })
}

fn from_bytes(column: &LogColumn, charsets: &Charsets, mut bytes: Vec<u8>, digits: usize) -> Result<Cell, &'static str> {
    let ascii = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| "a number can't be read");
    Ok(match column.ty {
        ColumnType::MYSQL_TYPE_NEWDECIMAL => Cell::Text(ascii(bytes)?),
        // The year 0 is written as 1900, which is no year of MySQL's.
        ColumnType::MYSQL_TYPE_YEAR => Cell::Text(ascii(bytes)?.replace("1900", "0")),
        ColumnType::MYSQL_TYPE_TIMESTAMP2 => timestamp(&ascii(bytes)?, digits)?,
        ColumnType::MYSQL_TYPE_BIT => {
            let number = bytes.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            Cell::Text(number.to_string())
        }
        ColumnType::MYSQL_TYPE_SET => {
            let mask = bytes.iter().rev().take(8).fold(0_u64, |mask, byte| mask << 8 | u64::from(*byte));
            let chosen = column.values.iter().enumerate().filter(|(at, _)| *at < 64 && mask >> at & 1 == 1);
            let texts = chosen.map(|(_, text)| charsets.text(column.charset, text).ok_or("a text of its set can't be read"));
            Cell::Text(texts.collect::<Result<Vec<_>, _>>()?.join(","))
        }
        ColumnType::MYSQL_TYPE_GEOMETRY | ColumnType::MYSQL_TYPE_VECTOR => Cell::Bytes(bytes),
        _ if column.charset == BINARY => {
            // The log leaves zeros at the end of a BINARY(n) out.
            if column.ty == ColumnType::MYSQL_TYPE_STRING {
                bytes.resize(bytes.len().max(fixed_length(&column.meta)), 0);
            }
            Cell::Bytes(bytes)
        }
        _ => match charsets.owned(column.charset, bytes) {
            Some(text) => Cell::Text(text),
            None => return Err("its text can't be read in its character set"),
        },
    })
}

/// The declared length of a CHAR or BINARY, in bytes: two of its bits hide in the type's.
fn fixed_length(meta: &[u8]) -> usize {
    let (Some(high), Some(low)) = (meta.first(), meta.get(1)) else {
        return 0;
    };
    usize::from(*low) | (usize::from((high & 0x30) ^ 0x30) << 4)
}

fn choice(column: &LogColumn, charsets: &Charsets, number: i64) -> Result<Cell, &'static str> {
    // 0 is MySQL's mark of a value that was refused.
    let Some(at) = usize::try_from(number).ok().and_then(|number| number.checked_sub(1)) else {
        return Ok(Cell::Text(String::new()));
    };
    let text = column.values.get(at).and_then(|text| charsets.text(column.charset, text));
    text.map(|text| Cell::Text(text.into_owned()))
        .ok_or("a text of its enumeration can't be read")
}

/// Seconds since 1970, perhaps with a fraction, in UTC.
fn timestamp(text: &str, digits: usize) -> Result<Cell, &'static str> {
    let (seconds, micros) = text.split_once('.').unwrap_or((text, "0"));
    let (seconds, micros): (i64, u32) = match (seconds.parse(), micros.parse()) {
        (Ok(seconds), Ok(micros)) => (seconds, micros),
        _ => return Err("a time can't be read"),
    };
    let fraction = fraction(micros, digits);
    if seconds == 0 {
        return Ok(Cell::Text(format!("0000-00-00 00:00:00{fraction}")));
    }
    let time = DateTime::from_timestamp(seconds, 0).ok_or("a time can't be read")?;
    Ok(Cell::Text(format!("{}{fraction}", time.format("%Y-%m-%d %H:%M:%S"))))
}

/// With as many digits as the column has.
fn fraction(micros: u32, digits: usize) -> String {
    if digits == 0 {
        return String::new();
    }
    let mut text = String::with_capacity(7);
    text.push('.');
    push_digits(&mut text, micros, 6);
    text.truncate(1 + digits.min(6));
    text
}

/// The lowest digits of a number, with zeros before it.
fn push_digits(text: &mut String, number: u32, digits: u32) {
    for place in (0..digits).rev() {
        let digit = number / 10_u32.pow(place) % 10;
        text.push(char::from_digit(digit, 10).unwrap_or('0'));
    }
}
