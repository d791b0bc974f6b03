//! Values of Debezium's events with a schema (`{"schema", "payload"}`): its numbers and bytes for decimals, times and the like, as
//! databases write them. Facts: Debezium's documentation, "Data type mappings"; Kafka Connect's logical types.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate, TimeDelta};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::input::Input;

/// A field's schema.
#[derive(Debug, Deserialize)]
pub(crate) struct FieldSchema {
    #[serde(default)]
    field: Option<String>,
    /// What the value means.
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    #[serde(default)]
    fields: Vec<FieldSchema>,
}

impl FieldSchema {
    /// The schema of a field.
    pub(crate) fn of(&self, field: &str) -> Option<&Self> {
        self.fields.iter().find(|schema| schema.field.as_deref() == Some(field))
    }

    /// The value as databases write it, or what is wrong with it.
    pub(crate) fn input<'a>(&self, raw: &'a RawValue) -> Result<Input<'a>, &'static str> {
        if raw.get() == "null" {
            return Ok(Input::Null);
        }
        let text = |text: String| Ok(Input::Text(Cow::Owned(text)));
        match self.name.as_deref().unwrap_or_default() {
            "org.apache.kafka.connect.data.Decimal" => {
                let scale = self.parameters.get("scale").and_then(|scale| scale.parse().ok());
                text(decimal(&bytes(raw)?, scale.ok_or("is a decimal without a scale")?))
            }
            "io.debezium.data.VariableScaleDecimal" => {
                let value: Scaled<'_> = serde_json::from_str(raw.get()).map_err(|_| UNFIT)?;
                text(decimal(&bytes(value.value)?, value.scale))
            }
            "io.debezium.time.Date" | "org.apache.kafka.connect.data.Date" => text(date(number(raw)?)?),
            "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => text(timestamp(number(raw)?, 1_000)?),
            "io.debezium.time.MicroTimestamp" => text(timestamp(number(raw)?, 1_000_000)?),
            "io.debezium.time.NanoTimestamp" => text(timestamp(number(raw)?, 1_000_000_000)?),
            "io.debezium.time.Time" | "org.apache.kafka.connect.data.Time" => text(time(number(raw)?, 1_000)),
            "io.debezium.time.MicroTime" => text(time(number(raw)?, 1_000_000)),
            "io.debezium.time.NanoTime" => text(time(number(raw)?, 1_000_000_000)),
            "io.debezium.data.Json" => {
                let document: String = serde_json::from_str(raw.get()).map_err(|_| UNFIT)?;
                Ok(Input::Document(Cow::Owned(document)))
            }
            "io.debezium.data.Bits" => {
                let number = bytes(raw)?
                    .iter()
                    .rev()
                    .take(8)
                    .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
                text(number.to_string())
            }
            "io.debezium.data.geometry.Geometry" | "io.debezium.data.geometry.Point" => {
                let value: Geometry<'_> = serde_json::from_str(raw.get()).map_err(|_| UNFIT)?;
                let mut all = value.srid.unwrap_or(0).to_le_bytes().to_vec();
                all.extend(bytes(value.wkb)?);
                Ok(Input::Bytes(Cow::Owned(all)))
            }
            _ => Ok(Input::Json(raw)),
        }
    }
}

const UNFIT: &str = "is not what its schema says";

#[derive(Deserialize)]
struct Scaled<'a> {
    scale: i32,
    #[serde(borrow)]
    value: &'a RawValue,
}

#[derive(Deserialize)]
struct Geometry<'a> {
    #[serde(borrow)]
    wkb: &'a RawValue,
    srid: Option<u32>,
}

fn bytes(raw: &RawValue) -> Result<Vec<u8>, &'static str> {
    let text: Cow<'_, str> = serde_json::from_str(raw.get()).map_err(|_| UNFIT)?;
    STANDARD.decode(text.as_bytes()).map_err(|_| UNFIT)
}

fn number(raw: &RawValue) -> Result<i64, &'static str> {
    raw.get().parse().map_err(|_| UNFIT)
}

fn date(days: i64) -> Result<String, &'static str> {
    let date = TimeDelta::try_days(days).and_then(|days| NaiveDate::default().checked_add_signed(days));
    Ok(date.ok_or("is a day that no calendar has")?.format("%Y-%m-%d").to_string())
}

/// `ticks` of which a second has `each`, since 1970.
fn timestamp(ticks: i64, each: i64) -> Result<String, &'static str> {
    let nanos = u32::try_from(ticks.rem_euclid(each) * (1_000_000_000 / each)).unwrap_or(0);
    let time = DateTime::from_timestamp(ticks.div_euclid(each), nanos).ok_or("is a time that no calendar has")?;
    Ok(time.format("%Y-%m-%d %H:%M:%S%.f").to_string())
}

/// Of a day, or a span of MySQL's.
fn time(ticks: i64, each: i64) -> String {
    let (sign, ticks) = (if ticks < 0 { "-" } else { "" }, ticks.unsigned_abs());
    let each = each.unsigned_abs();
    let (seconds, fraction) = (ticks / each, ticks % each);
    let digits = each.ilog10() as usize;
    let fraction = match fraction {
        0 => String::new(),
        fraction => format!(".{fraction:0digits$}"),
    };
    format!("{sign}{:02}:{:02}:{:02}{fraction}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A big-endian number in two's complement, with its last `scale` digits behind a point.
fn decimal(bytes: &[u8], scale: i32) -> String {
    let negative = bytes.first().is_some_and(|first| *first >= 0x80);
    // The lowest digit first.
    let mut digits = vec![0_u8];
    for byte in bytes {
        // What is subtracted from -1 counts from 0, as a positive number does.
        let mut carry = u32::from(if negative { !*byte } else { *byte });
        for digit in &mut digits {
            let number = u32::from(*digit) * 256 + carry;
            *digit = u8::try_from(number % 10).unwrap_or(0);
            carry = number / 10;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 10).unwrap_or(0));
            carry /= 10;
        }
    }
    if negative {
        add_one(&mut digits);
    }
    let zeros = usize::try_from(-scale).unwrap_or(0);
    let scale = usize::try_from(scale).unwrap_or(0);
    while digits.len() <= scale {
        digits.push(0);
    }
    let mut text = String::from(if negative { "-" } else { "" });
    for (at, digit) in digits.iter().enumerate().rev() {
        text.push(char::from(b'0' + digit));
        if at == scale && scale > 0 {
            text.push('.');
        }
    }
    text.push_str(&"0".repeat(zeros));
    text
}

fn add_one(digits: &mut Vec<u8>) {
    for digit in &mut *digits {
        if *digit < 9 {
            *digit += 1;
            return;
        }
        *digit = 0;
    }
    digits.push(1);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_are_what_they_mean() {
        for (bytes, scale, expected) in [
            (&[0_u8][..], 0, "0"),
            (&[0x7f], 2, "1.27"),
            (&[0x80], 2, "-1.28"),
            (&[0xff, 0x7f], 2, "-1.29"),
            (&[0xff], 2, "-0.01"),
            (&[1, 0, 0], 2, "655.36"),
            (&[5], -2, "500"),
            (&[0x9c], 0, "-100"),
        ] {
            assert_eq!(decimal(bytes, scale), expected);
        }
        assert_eq!(date(-1).unwrap(), "1969-12-31");
        assert_eq!(timestamp(-1, 1_000).unwrap(), "1969-12-31 23:59:59.999");
        assert_eq!(timestamp(1_700_000_000_123_456, 1_000_000).unwrap(), "2023-11-14 22:13:20.123456");
        assert_eq!(time(-3_020_399_000_000, 1_000_000), "-838:59:59");
        assert_eq!(time(1_500, 1_000), "00:00:01.500");
        assert!(date(i64::MAX).is_err() && timestamp(i64::MAX, 1_000).is_err());
    }
}
