//! Times as databases write them.

use chrono::{DateTime, NaiveDateTime};

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
    fn times_with_a_zone_are_taken_in_utc() {
        assert_eq!(
            sql_text(to_utc("2024-01-31T12:34:56.1234567+02:00").unwrap()),
            "2024-01-31 10:34:56.123456700"
        );
        assert!(to_utc("2024-01-31T12:34:56").is_none());
    }
}
