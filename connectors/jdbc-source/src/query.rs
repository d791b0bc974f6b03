//! A query as a part of another one.

use openconnect_sql::Dialect;

/// The query without the semicolon that ends it, be there comments behind it or not.
pub(crate) fn without_end(query: &str, dialect: Dialect) -> String {
    let mut query = query.trim().to_owned();
    while let Some(at) = last(&query, dialect).filter(|at| query.get(*at..).is_some_and(|rest| rest.starts_with(';'))) {
        query.replace_range(at..=at, " ");
    }
    query
}

/// Where the last character is that is neither space nor part of a comment.
fn last(query: &str, dialect: Dialect) -> Option<usize> {
    let mut last = None;
    let mut at = 0;
    while let Some(rest) = query.get(at..).filter(|rest| !rest.is_empty()) {
        let first = rest.chars().next().map_or(1, char::len_utf8);
        let line = || rest.find('\n').unwrap_or(rest.len());
        let is_mysql = dialect == Dialect::MySql;
        at += match rest.as_bytes() {
            // MySQL's needs a space behind it.
            [b'-', b'-', next, ..] if !is_mysql || next.is_ascii_whitespace() => line(),
            [b'-', b'-'] => 2,
            [b'#', ..] if is_mysql => line(),
            [b'/', b'*', ..] => block(rest, dialect == Dialect::Postgres),
            [mark @ (b'\'' | b'"' | b'`'), ..] => {
                let length = quoted(rest, *mark, is_mysql);
                last = Some(at + length - 1);
                length
            }
            [b'$', ..] if dialect == Dialect::Postgres => {
                let length = dollars(rest).unwrap_or(1);
                last = Some(at + length - 1);
                length
            }
            [space, ..] if space.is_ascii_whitespace() => 1,
            _ => {
                last = Some(at);
                first
            }
        };
    }
    last
}

/// The length of a comment; PostgreSQL's hold others.
fn block(text: &str, nested: bool) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") && (depth == 0 || nested) {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of what is quoted; two marks stand for one, and so does one behind a backslash for MySQL.
fn quoted(text: &str, mark: u8, backslashes: bool) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        at += match byte {
            b'\\' if backslashes && mark != b'`' => 2,
            byte if *byte == mark && bytes.get(at + 1) == Some(&mark) => 2,
            byte if *byte == mark => return at + 1,
            _ => 1,
        };
    }
    text.len()
}

/// The length of a text between two equal tags, `$tag$`.
fn dollars(text: &str) -> Option<usize> {
    let end = text.get(1..)?.find('$')? + 2;
    let tag = text.get(..end)?;
    let is_tag = tag.trim_matches('$').chars().all(|c| c.is_alphanumeric() || c == '_');
    let rest = text.get(end..).filter(|_| is_tag)?;
    Some(end + rest.find(tag)? + tag.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semicolon_at_the_end_goes_whatever_comes_behind_it() {
        use Dialect::{MySql, Postgres, Sqlite};
        for (dialect, query, without) in [
            (Postgres, "select 1;", "select 1 "),
            (Postgres, "select 1; -- all; of them", "select 1  -- all; of them"),
            (MySql, "select 1; # all", "select 1  # all"),
            (Sqlite, "select ';' /* a; b */ ; ;", "select ';' /* a; b */    "),
            (Postgres, "select $x$;$x$ /* a /* b */ ; */", "select $x$;$x$ /* a /* b */ ; */"),
            (Postgres, "select 'it''s;' -- ;", "select 'it''s;' -- ;"),
            (MySql, "select 1--1;", "select 1--1 "),
            (MySql, "select 'a\\';' ;", "select 'a\\';'  "),
        ] {
            assert_eq!(without_end(query, dialect), without.trim_start(), "{query}");
        }
    }
}
