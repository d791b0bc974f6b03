//! Times as databases and as CloudEvents write them.

use chrono::{DateTime, NaiveDateTime};

/// A database's text of a time as RFC 3339 has it: `T` between, `Z` after it when it is in UTC. What has no such form
/// (`infinity`, years before Christ, zero dates) stays as it is.
pub(crate) fn to_rfc3339(text: &str, zoned: bool) -> String {
    let plain = text.strip_suffix("+00").unwrap_or(text);
    let dated = plain.len() >= 19 && plain.bytes().all(|b| b.is_ascii_digit() || b" -:.".contains(&b));
    let Some((date, time)) = plain.split_once(' ').filter(|(date, _)| dated && date.len() == 10) else {
        return text.to_owned();
    };
    format!("{date}T{time}{}", if zoned { "Z" } else { "" })
}

/// An RFC 3339 time with a zone, as a time in UTC in the form that every database takes; none when it is not one.
pub(crate) fn to_utc(text: &str) -> Option<NaiveDateTime> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.naive_utc())
}

/// With as many digits as there are.
pub(crate) fn sql_text(time: NaiveDateTime) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.f").to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_keep_their_digits_and_their_zone() {
        assert_eq!(to_rfc3339("2024-01-31 12:34:56.123456+00", true), "2024-01-31T12:34:56.123456Z");
        assert_eq!(to_rfc3339("2024-01-31 12:34:56", false), "2024-01-31T12:34:56");
        assert_eq!(to_rfc3339("infinity", true), "infinity");
        assert_eq!(to_rfc3339("0044-03-15 12:00:00+00 BC", true), "0044-03-15 12:00:00+00 BC");
        assert_eq!(
            sql_text(to_utc("2024-01-31T12:34:56.1234567+02:00").unwrap()),
            "2024-01-31 10:34:56.123456700"
        );
        assert!(to_utc("2024-01-31T12:34:56").is_none());
    }
}
