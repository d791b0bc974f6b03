//! A statement of the configuration's, with `:name` where an argument stands.

use std::collections::{BTreeMap, BTreeSet};

use openconnect_change::Input;
use openconnect_core::Failure;
use openconnect_core::cloudevents::Event;
use openconnect_sql::{Dialect, Statement, Value};

use crate::expression::{Data, Expressions};

/// The statement, ready to be bound.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RawStatement {
    sql: String,
    /// The expressions of its parameters, in order.
    expressions: Vec<String>,
    dialect: Dialect,
}

impl RawStatement {
    /// What does not fit otherwise.
    pub(crate) fn new(sql: &str, arguments: &BTreeMap<String, String>, dialect: Dialect) -> Result<Self, String> {
        let mut made = Self {
            sql: String::with_capacity(sql.len()),
            expressions: Vec::new(),
            dialect,
        };
        let mut used = BTreeSet::new();
        let mut rest = sql;
        while let Some(first) = rest.chars().next() {
            let length = quoted(rest);
            if length > 0 {
                made.take(&mut rest, length);
                continue;
            }
            let name = rest
                .strip_prefix(':')
                .map(|behind| behind.split(|c: char| !c.is_alphanumeric() && c != '_').next());
            match name.flatten() {
                // PostgreSQL's cast.
                Some("") if rest.starts_with("::") => made.take(&mut rest, 2),
                Some(name) if !name.is_empty() => {
                    let expression = arguments.get(name).ok_or_else(|| format!("`:{name}` is none of sink.arguments"))?;
                    used.insert(name.to_owned());
                    made.expressions.push(expression.clone());
                    made.sql.push_str(&dialect.parameter(made.expressions.len()));
                    rest = rest.get(1 + name.len()..).unwrap_or_default();
                }
                _ => made.take(&mut rest, first.len_utf8()),
            }
        }
        match arguments.keys().find(|name| !used.contains(*name)) {
            Some(name) => Err(format!(
                "does not use the argument `{name}`; write `:{name}` where its value stands"
            )),
            None => Ok(made),
        }
    }

    fn take(&mut self, rest: &mut &str, length: usize) {
        let (taken, left) = rest.split_at(length.min(rest.len()));
        self.sql.push_str(taken);
        *rest = left;
    }

    /// The statement for an event.
    pub(crate) fn bind(&self, event: &Event) -> Result<Statement, Failure> {
        let data = Data::of(event);
        let expressions = Expressions::new(event, &data);
        let value = |expression: &String| Ok(value(self.dialect, &expressions.value(expression)?));
        let values: Result<Vec<Value>, Failure> = self.expressions.iter().map(value).collect();
        Ok(Statement::new(self.sql.clone(), values?))
    }
}

/// How long a text, a quoted name or a comment is that begins here; 0 where none does.
fn quoted(rest: &str) -> usize {
    let end = |open: usize, close: &str| {
        rest.get(open..)
            .and_then(|inside| inside.find(close))
            .map_or(rest.len(), |at| open + at + close.len())
    };
    match rest.as_bytes() {
        [b'\'', ..] => end(1, "'"),
        [b'"', ..] => end(1, "\""),
        [b'`', ..] => end(1, "`"),
        [b'-', b'-', ..] => end(2, "\n"),
        [b'/', b'*', ..] => end(2, "*/"),
        _ => 0,
    }
}

/// Texts stay texts, which the statement may cast; objects and arrays are their JSON.
fn value(dialect: Dialect, input: &Input<'_>) -> Value {
    let number = |text: &str| match (dialect, text.parse::<i64>(), text.parse::<f64>()) {
        // It takes a text for every type.
        (Dialect::Postgres, ..) => Value::Text(text.to_owned()),
        (_, Ok(number), _) => Value::Integer(number),
        (Dialect::Sqlite, _, Ok(number)) => Value::Real(number),
        _ => Value::Text(text.to_owned()),
    };
    let boolean = |value: bool| match dialect {
        Dialect::Postgres => Value::Text(value.to_string()),
        _ => Value::Integer(value.into()),
    };
    match input {
        Input::Null => Value::Null,
        Input::Text(text) | Input::Document(text) => Value::Text(text.to_string()),
        Input::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        Input::Integer(value) => number(&value.to_string()),
        Input::Bool(value) => boolean(*value),
        Input::Json(raw) => match (raw.get(), raw.get().as_bytes().first()) {
            ("null", _) => Value::Null,
            (text, Some(b't' | b'f')) => boolean(text == "true"),
            (text, Some(b'"')) => Value::Text(serde_json::from_str(text).unwrap_or_default()),
            (text, Some(b'-' | b'0'..=b'9')) => number(text),
            (text, _) => Value::Text(text.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_become_parameters_and_what_is_quoted_stays() {
        let arguments: BTreeMap<String, String> = [("id", "id"), ("größe", "data.n")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into();
        let sql = "insert into t values (:id::bigint, ':id', \":id\", :größe, :id) -- :id\n/* :id */";
        let made = RawStatement::new(sql, &arguments, Dialect::Postgres).unwrap();
        assert_eq!(
            made.sql,
            "insert into t values ($1::bigint, ':id', \":id\", $2, $3) -- :id\n/* :id */"
        );
        assert_eq!(made.expressions, ["id", "data.n", "id"]);
        assert!(
            RawStatement::new("select :idd", &arguments, Dialect::MySql)
                .unwrap_err()
                .contains("`:idd`")
        );
        assert!(
            RawStatement::new("select :id", &arguments, Dialect::MySql)
                .unwrap_err()
                .contains("`größe`")
        );
        assert_eq!(quoted("'unclosed"), 9);
    }
}
