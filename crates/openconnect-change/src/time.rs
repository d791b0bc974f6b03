//! Times in the form of CloudEvents.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_digits_and_their_zone() {
        assert_eq!(to_rfc3339("2024-01-31 12:34:56.123456+00", true), "2024-01-31T12:34:56.123456Z");
        assert_eq!(to_rfc3339("2024-01-31 12:34:56", false), "2024-01-31T12:34:56");
        assert_eq!(to_rfc3339("infinity", true), "infinity");
        assert_eq!(to_rfc3339("0044-03-15 12:00:00+00 BC", true), "0044-03-15 12:00:00+00 BC");
    }
}
