//! Values of the log as the database would write them.

use std::net::Ipv4Addr;

use chrono::DateTime;
use mysql_async::Value;
use mysql_async::binlog::value::BinlogValue;
use mysql_async::consts::ColumnType;
use openconnect_change::Cell;

use crate::catalog::Declared;
use crate::charset::{BINARY, Charsets};
use crate::compressed;
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
        Value::Float(number) => single(number),
        Value::Double(number) => double(number),
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

/// A number of double precision, with the digits that tell it from others. As the server writes whole ones: `100`, not `100.0`.
pub(crate) fn double(number: f64) -> Cell {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return Cell::Text(format!("{number:.0}"));
    }
    serde_json::to_string(&number).map_or(Cell::Real(number), Cell::Text)
}

/// As [`double`], of single precision.
pub(crate) fn single(number: f32) -> Cell {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return Cell::Text(format!("{number:.0}"));
    }
    serde_json::to_string(&number).map_or(Cell::Real(number.into()), Cell::Text)
}

/// How many bytes a time of so many digits has behind those of its hours, minutes and seconds.
pub(crate) fn time_fraction_bytes(digits: u8) -> usize {
    usize::from(digits.min(6)).div_ceil(2)
}

/// A time as the log has it: one number, moved so that none is below zero; its lowest bytes are the fraction.
pub(crate) fn time(bytes: &[u8], digits: u8) -> Cell {
    let fraction_bits = 8 * time_fraction_bytes(digits);
    let number = bytes.iter().fold(0_i64, |number, byte| number << 8 | i64::from(*byte)) - (0x80_0000 << fraction_bits);
    let sign = if number < 0 { "-" } else { "" };
    let number = number.unsigned_abs();
    let (whole, rest) = (number >> fraction_bits, number & ((1 << fraction_bits) - 1));
    let micros = rest * [1, 10_000, 100, 1].get(fraction_bits / 8).copied().unwrap_or(1);
    let (hours, minutes, seconds) = (whole >> 12 & 0x3ff, whole >> 6 & 0x3f, whole & 0x3f);
    let fraction = fraction(u32::try_from(micros).unwrap_or(0), digits.into());
    Cell::Text(format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{fraction}"))
}

fn from_bytes(column: &LogColumn, charsets: &Charsets, mut bytes: Vec<u8>, digits: usize) -> Result<Cell, &'static str> {
    let ascii = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| "a number can't be read");
    if column.compressed {
        bytes = compressed::plain_value(bytes).map_err(|_| "what is compressed in it can't be read")?;
    }
    if let Some(declared @ (Declared::Uuid | Declared::Inet4 | Declared::Inet6)) = column.declared {
        // The log leaves zeros at the end out.
        bytes.resize(bytes.len().max(fixed_length(&column.meta)), 0);
        return declared_text(declared, &bytes)
            .map(Cell::Text)
            .ok_or("it has not the length of its type");
    }
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

/// As MariaDB writes such a value.
fn declared_text(declared: Declared, bytes: &[u8]) -> Option<String> {
    match declared {
        Declared::Json => None,
        Declared::Uuid => {
            let bytes: [u8; 16] = bytes.try_into().ok()?;
            Some(uuid(&bytes))
        }
        Declared::Inet4 => {
            let bytes: [u8; 4] = bytes.try_into().ok()?;
            Some(Ipv4Addr::from(bytes).to_string())
        }
        Declared::Inet6 => {
            let bytes: [u8; 16] = bytes.try_into().ok()?;
            Some(inet6(&bytes))
        }
    }
}

/// As the server writes it: the first of the longest runs of zeros is left out, also where it is one group; what holds an IPv4 address
/// ends as one.
fn inet6(bytes: &[u8; 16]) -> String {
    let groups: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|group| u16::from_be_bytes(*group)).collect();
    let (mut from, mut length) = (0, 0);
    for start in 0..groups.len() {
        let zeros = groups.iter().skip(start).take_while(|group| **group == 0).count();
        if zeros > length {
            (from, length) = (start, zeros);
        }
    }
    let tail = || bytes.last_chunk::<4>().map_or(Ipv4Addr::UNSPECIFIED, |tail| Ipv4Addr::from(*tail));
    if from == 0 && length == 6 {
        return format!("::{}", tail());
    }
    if from == 0 && length == 5 && groups.get(5) == Some(&0xffff) {
        return format!("::ffff:{}", tail());
    }
    let text = |groups: &[u16]| groups.iter().map(|group| format!("{group:x}")).collect::<Vec<_>>().join(":");
    let (before, rest) = groups.split_at(from);
    let behind = rest.get(length..).unwrap_or_default();
    if length == 0 {
        return text(&groups);
    }
    format!("{}::{}", text(before), text(behind))
}

/// In its five groups.
pub(crate) fn uuid(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_below_zero_have_their_fraction() {
        for (bytes, digits, text) in [
            (&[0x80, 0, 0][..], 0, "00:00:00"),
            (&[0x7f, 0xff, 0xff, 0xce], 2, "-00:00:00.50"),
            (&[0x7f, 0xff, 0xff, 0xff, 0xff], 4, "-00:00:00.0001"),
            (&[0x7f, 0xef, 0xff, 0xf8, 0x5e, 0xe0], 6, "-01:00:00.500000"),
            (&[0x80, 0x10, 0x42, 0x0a], 1, "01:01:02.1"),
        ] {
            assert_eq!(time(bytes, digits), Cell::Text(text.to_owned()), "{bytes:?}");
        }
    }

    #[test]
    fn addresses_are_written_as_mariadb_writes_them() {
        for (groups, text) in [
            ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], "2001:db8::1"),
            ([1, 0, 2, 3, 4, 5, 6, 7], "1::2:3:4:5:6:7"),
            ([0; 8], "::"),
            ([0, 0, 0, 0, 0, 0xffff, 0x102, 0x304], "::ffff:1.2.3.4"),
        ] {
            let mut bytes = [0; 16];
            for (at, group) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(groups) {
                *at = u16::to_be_bytes(group);
            }
            assert_eq!(inet6(&bytes), text);
        }
    }
}
