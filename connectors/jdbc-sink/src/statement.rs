//! Rows to multi-row statements. Order is kept: a statement takes rows that follow one another and have the same shape.

use crate::config::Mode;
use crate::row::{Operation, Row, SqlValue};

/// SQLite's default limit is 32,766 bound values.
const PARAMETERS: usize = 30_000;

/// One statement with its values in order.
#[derive(Debug, PartialEq)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) values: Vec<SqlValue>,
}

/// An identifier, quoted as the standard says: whatever is in it, it is a name.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\"").replace('\0', ""))
}

/// The statements for rows, in their order.
pub(crate) fn statements(rows: Vec<Row>, mode: Mode, key: &[String]) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut group: Vec<Row> = Vec::new();
    for row in rows {
        let fits = group.first().is_none_or(|first| {
            first.table == row.table
                && first.operation == row.operation
                && first.columns == row.columns
                && (group.len() + 1) * row.columns.len() <= PARAMETERS
        });
        if !fits {
            statements.push(statement(std::mem::take(&mut group), mode, key));
        }
        group.push(row);
    }
    if !group.is_empty() {
        statements.push(statement(group, mode, key));
    }
    statements
}

fn statement(rows: Vec<Row>, mode: Mode, key: &[String]) -> Statement {
    let Some(first) = rows.first() else {
        return Statement {
            sql: String::new(),
            values: Vec::new(),
        };
    };
    let names = |columns: &[String]| columns.iter().map(|column| quote(column)).collect::<Vec<_>>().join(", ");
    let tuple = format!("({})", vec!["?"; first.columns.len()].join(", "));
    let tuples = vec![tuple; rows.len()].join(", ");
    let (table, columns) = (quote(&first.table), names(&first.columns));
    let sql = match first.operation {
        Operation::Delete => format!("delete from {table} where ({columns}) in (values {tuples})"),
        Operation::Put => {
            let insert = format!("insert into {table} ({columns}) values {tuples}");
            let others: Vec<String> = first
                .columns
                .iter()
                .filter(|column| !key.contains(column))
                .map(|c| format!("{0} = excluded.{0}", quote(c)))
                .collect();
            match mode {
                _ if key.is_empty() => insert,
                Mode::Upsert if !others.is_empty() => format!("{insert} on conflict ({}) do update set {}", names(key), others.join(", ")),
                _ => format!("{insert} on conflict ({}) do nothing", names(key)),
            }
        }
    };
    Statement {
        sql,
        values: rows.into_iter().flat_map(|row| row.values).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(table: &str, operation: Operation) -> Row {
        Row {
            table: table.into(),
            operation,
            columns: vec!["id".into(), "v".into()],
            values: vec![SqlValue::Integer(1), SqlValue::Null],
        }
    }

    #[test]
    fn rows_of_one_shape_share_a_statement_and_order_is_kept() {
        let key = ["id".to_owned()];
        let rows = vec![
            row("a", Operation::Put),
            row("a", Operation::Put),
            row("a", Operation::Delete),
            row("a", Operation::Put),
        ];
        let statements = statements(rows, Mode::Upsert, &key);
        assert_eq!(statements.len(), 3);
        assert_eq!(
            statements[0].sql,
            "insert into \"a\" (\"id\", \"v\") values (?, ?), (?, ?) on conflict (\"id\") do update set \"v\" = excluded.\"v\""
        );
        assert!(statements[1].sql.starts_with("delete from \"a\""));
    }

    #[test]
    fn a_name_is_a_name_whatever_is_in_it() {
        assert_eq!(quote("a\"; drop table b; --"), "\"a\"\"; drop table b; --\"");
    }
}
