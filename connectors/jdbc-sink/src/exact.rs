//! What a database would round or cut without a word: it is refused before.

use openconnect_change::{Column, Kind};
use openconnect_sql::{Dialect, Value};

/// Digits of a number in a numeric column of SQLite's that come back as they were.
const SQLITE_DIGITS: usize = 15;

/// Why a value would not come back from the column as it is; none where it would, or where the database refuses it itself. `declared` is
/// the column's type with its lengths.
pub(crate) fn loss(dialect: Dialect, column: &Column, declared: &str, value: &Value) -> Option<&'static str> {
    let Value::Text(text) = value else { return None };
    let lengths = Lengths::of(declared);
    if dialect == Dialect::Sqlite {
        let lost = is_numeric(declared) && significant(text)? > SQLITE_DIGITS && text.parse::<i64>().is_err();
        return lost.then_some("has more digits than a numeric column of SQLite keeps");
    }
    match column.kind {
        Kind::Integer => (places(text)? > 0).then_some("is no whole number"),
        Kind::Decimal => (places(text)? > lengths.scale?).then_some("has more digits behind the point than the column"),
        Kind::Float | Kind::Double if lengths.scale.is_some_and(|scale| places(text).is_some_and(|places| places > scale)) => {
            Some("has more digits behind the point than the column")
        }
        Kind::Float => (!is_single(text)?).then_some("has more digits than a number of single precision"),
        Kind::Time | Kind::Timestamp | Kind::TimestampTz => {
            let default = if dialect == Dialect::Postgres { 6 } else { 0 };
            (fraction(text).len() as i64 > lengths.first.unwrap_or(default)).then_some("is a finer time than the column has")
        }
        Kind::Date => has_time(text).then_some("has a time, and the column has none"),
        Kind::Text => {
            let room = usize::try_from(lengths.first.filter(|_| declared.contains("char"))?).ok()?;
            let is_cut = text.chars().count() > room && text.chars().skip(room).all(|c| c == ' ');
            is_cut.then_some("ends in spaces for which the column has no room")
        }
        _ => None,
    }
}

/// The numbers in a type's parentheses.
struct Lengths {
    first: Option<i64>,
    /// Digits behind the point.
    scale: Option<i64>,
}

impl Lengths {
    fn of(declared: &str) -> Self {
        let inside = declared.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
        let mut numbers = inside
            .into_iter()
            .flat_map(|(inside, _)| inside.split(','))
            .map(|number| number.trim().parse().ok());
        Self {
            first: numbers.next().flatten(),
            scale: numbers.next().flatten(),
        }
    }
}

/// How many digits behind the point a number needs; fewer than none where it ends in zeros. None where it is no number.
fn places(text: &str) -> Option<i64> {
    let (digits, point, exponent) = parts(text)?;
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    if zeros == digits.len() {
        return Some(i64::MIN);
    }
    Some((i64::try_from(point).ok()? - i64::try_from(zeros).ok()?).saturating_sub(exponent))
}

/// How many digits a number has between the first and the last that is not zero.
fn significant(text: &str) -> Option<usize> {
    parts(text).map(|(digits, ..)| digits.trim_matches('0').len())
}

/// A number's digits, how many of them are behind the point, and its exponent.
fn parts(text: &str) -> Option<(String, usize, i64)> {
    let number = text.trim().trim_start_matches(['-', '+']);
    let (number, exponent) = match number.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse().ok()?),
        None => (number, 0),
    };
    let (whole, behind) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{behind}");
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some((digits, behind.len(), exponent))
}

/// Is there a number of single precision that is this one, or is written so? None where it is no number.
fn is_single(text: &str) -> Option<bool> {
    let number: f64 = text.trim().parse().ok()?;
    let single: f32 = text.trim().parse().ok()?;
    Some(!number.is_finite() || f64::from(single) == number || single.to_string().parse::<f64>() == Ok(number))
}

/// The digits of a part of a second, without zeros at the end.
fn fraction(text: &str) -> &str {
    let behind = text
        .rsplit_once(':')
        .and_then(|(_, seconds)| seconds.split_once('.'))
        .map_or("", |(_, behind)| behind);
    let end = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
    behind.get(..end).unwrap_or_default().trim_end_matches('0')
}

/// Has a date a time beside it that is not the beginning of the day?
fn has_time(text: &str) -> bool {
    let time = text.trim().split_once(['T', 't', ' ']).map_or("", |(_, time)| time);
    let clock = time.split(['Z', 'z', '+', '-', ' ']).next().unwrap_or_default();
    clock.contains(':') && clock.bytes().any(|byte| matches!(byte, b'1'..=b'9'))
}

/// Does a column of SQLite's make numbers of texts that look like one?
fn is_numeric(declared: &str) -> bool {
    let declared = declared.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    has(&["INT"]) || !(declared.is_empty() || has(&["CHAR", "CLOB", "TEXT", "BLOB"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_rounded_or_cut_is_refused_and_nothing_else() {
        use Dialect::{MySql, Postgres, Sqlite};
        for (dialect, kind, declared, fits, lost) in [
            (
                Postgres,
                Kind::Decimal,
                "numeric(10,2)",
                "1.50 1.500 -0.01 1e3 0.000 NaN",
                "1.005 1.5e-2",
            ),
            (Postgres, Kind::Decimal, "numeric(5,-2)", "12300 0", "12345"),
            (Postgres, Kind::Decimal, "numeric", "0.00000000000000000001", ""),
            (MySql, Kind::Integer, "int unsigned", "7.0 1.5e1 abc", "7.5 1.5"),
            (MySql, Kind::Decimal, "decimal(65,30)", "0.1", "1e-31"),
            (
                MySql,
                Kind::Float,
                "float",
                "0.1 -3.5e10 0.10000000149011612 16777216",
                "0.1234567890123 16777217",
            ),
            (MySql, Kind::Double, "double(7,2)", "1.25", "1.255"),
            (
                Postgres,
                Kind::Timestamp,
                "timestamp(0) without time zone",
                "2024-01-31T00:00:00 2024-01-31T00:00:00.000",
                "2024-01-31T00:00:00.6",
            ),
            (
                Postgres,
                Kind::TimestampTz,
                "timestamp with time zone",
                "2024-01-31T00:00:00.123456+02:00 infinity",
                "2024-01-31T00:00:00.1234567Z",
            ),
            (Postgres, Kind::Timestamp, "timestamp without time zone", "31.01.2024", ""),
            (MySql, Kind::Time, "time", "12:34:56 12:34:56.00", "12:34:56.789"),
            (
                MySql,
                Kind::Timestamp,
                "datetime(3)",
                "2024-01-31T00:00:00.123",
                "2024-01-31T00:00:00.1234",
            ),
            (MySql, Kind::Date, "date", "2024-01-31 2024-01-31T00:00:00Z", "2024-01-31T23:59:59"),
            (Postgres, Kind::Text, "character varying(3)", "abc abcd", ""),
            (
                Sqlite,
                Kind::Dynamic,
                "decimal(20,2)",
                "123456789012345 9007199254740993 12.50 x",
                "12345678901234567.89 18446744073709551615",
            ),
            (Sqlite, Kind::Dynamic, "text", "12345678901234567.89", ""),
        ] {
            let column = Column {
                name: "c".into(),
                kind,
                type_name: String::new(),
                generated: false,
            };
            let refused = |text: &&str| loss(dialect, &column, declared, &Value::Text((*text).to_owned())).is_some();
            assert_eq!(fits.split(' ').find(refused), None, "{declared}");
            assert_eq!(lost.split_whitespace().find(|text| !refused(text)), None, "{declared}");
        }
        let column = Column {
            name: "c".into(),
            kind: Kind::Text,
            type_name: String::new(),
            generated: false,
        };
        assert!(loss(MySql, &column, "varchar(3)", &Value::Text("abc   ".into())).is_some());
    }
}
