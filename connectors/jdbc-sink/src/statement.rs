//! Rows to multi-row statements. Rows of one key keep their order, and a statement takes rows that follow one another and have
//! the same shape.
//!
//! PostgreSQL gets a column of values as one array parameter: the same statement for any number of rows. The others get a
//! parameter for each value, with row counts that are powers of two, so that few different statements are prepared.

use std::collections::HashMap;

use openconnect_change::Kind;
use openconnect_sql::{Dialect, Statement, Value};

use crate::config::Mode;
use crate::event::Operation;
use crate::row::Row;

/// A statement, and what is run instead where it found no row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Write {
    pub(crate) statement: Statement,
    pub(crate) otherwise: Option<Statement>,
}

impl From<Statement> for Write {
    fn from(statement: Statement) -> Self {
        Self {
            statement,
            otherwise: None,
        }
    }
}

/// The statements for rows, in their order.
pub(crate) fn statements(rows: Vec<Row>, mode: Mode, dialect: Dialect) -> Vec<Write> {
    let mut statements = Vec::new();
    for group in groups(rows, mode) {
        let (Some(first), size) = (group.first(), group.len()) else {
            continue;
        };
        let is_update = mode == Mode::Update && first.operation == Operation::Put;
        if is_update
            && first
                .names()
                .all(|name| first.key.contains(name) || first.table.identity.contains(name))
        {
            // Nothing but the key: nothing to change.
            continue;
        }
        if dialect == Dialect::Postgres {
            statements.push(postgres(group, mode).into());
            continue;
        }
        if dialect == Dialect::MySql && !is_update && conflicts_beside_key(first) {
            statements.extend(group.into_iter().map(|row| update_or_insert(row, mode)));
            continue;
        }
        let most = if is_update {
            1
        } else {
            (dialect.max_parameters() / first.columns.len().max(1)).max(1)
        };
        let mut rows = group.into_iter();
        let mut left = size;
        while left > 0 {
            let take = power_of_two(left.min(most));
            left -= take;
            statements.push(by_values(rows.by_ref().take(take).collect(), mode, dialect).into());
        }
    }
    statements
}

/// All rows go. MySQL would commit before a `TRUNCATE`, and SQLite has none.
fn truncate(row: &Row, dialect: Dialect) -> Statement {
    let table = row.table.name.quoted(dialect);
    let sql = match dialect {
        Dialect::Postgres => format!("truncate table {table}"),
        _ => format!("delete from {table}"),
    };
    Statement::new(sql, Vec::new())
}

/// The largest one that is not larger.
fn power_of_two(number: usize) -> usize {
    1 << number.max(1).ilog2()
}

/// Rows of one shape that follow one another. Of rows with the same key only one is left, the one that decides: a statement
/// may touch a row once.
fn groups(rows: Vec<Row>, mode: Mode) -> Vec<Vec<Row>> {
    let mut groups: Vec<Vec<Row>> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for row in rows {
        let fits = groups
            .last()
            .and_then(|group| group.first())
            .is_some_and(|first| first.operation == row.operation && first.columns == row.columns && first.table.name == row.table.name);
        if !fits {
            groups.push(Vec::new());
            known.clear();
        }
        let Some(group) = groups.last_mut() else { continue };
        if row.key.is_empty() {
            group.push(row);
            continue;
        }
        let first_wins = row.operation == Operation::Delete || mode == Mode::Insert;
        match known.entry(key_text(&row)) {
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(group.len());
                group.push(row);
            }
            std::collections::hash_map::Entry::Occupied(at) if !first_wins => {
                if let Some(earlier) = group.get_mut(*at.get()) {
                    *earlier = row;
                }
            }
            std::collections::hash_map::Entry::Occupied(_) => {}
        }
    }
    groups
}

fn key_text(row: &Row) -> String {
    let mut text = String::new();
    for (name, value) in row.names().zip(&row.values) {
        if row.key.contains(name) {
            text.push_str(&format!("{value:?},"));
        }
    }
    text
}

/// Column names, quoted: all of them, and those that are no key.
struct Names {
    all: Vec<String>,
    others: Vec<String>,
    key: Vec<String>,
}

impl Names {
    fn of(row: &Row, dialect: Dialect) -> Self {
        let quoted = |keep: &dyn Fn(&String) -> bool| row.names().filter(|name| keep(name)).map(|name| dialect.quote(name)).collect();
        Self {
            all: quoted(&|_| true),
            others: quoted(&|name| !row.key.contains(name) && !row.table.identity.contains(name)),
            key: row.key.iter().map(|name| dialect.quote(name)).collect(),
        }
    }
}

fn joined(names: &[String], separator: &str, each: impl Fn(&str) -> String) -> String {
    names.iter().map(|name| each(name)).collect::<Vec<_>>().join(separator)
}

fn on_conflict(names: &Names, mode: Mode) -> String {
    match mode {
        _ if names.key.is_empty() => String::new(),
        Mode::Upsert if !names.others.is_empty() => format!(
            " on conflict ({}) do update set {}",
            names.key.join(", "),
            joined(&names.others, ", ", |name| format!("{name} = excluded.{name}"))
        ),
        _ => format!(" on conflict ({}) do nothing", names.key.join(", ")),
    }
}

fn postgres(rows: Vec<Row>, mode: Mode) -> Statement {
    let Some(first) = rows.first() else {
        return Statement::new("", Vec::new());
    };
    let dialect = Dialect::Postgres;
    let names = Names::of(first, dialect);
    let table = first.table.name.quoted(dialect);
    let (operation, columns) = (first.operation, first.columns.clone());
    let described: Vec<_> = columns.iter().filter_map(|at| first.table.columns.get(*at)).collect();
    let (mut arrays, mut inner, mut selected) = (Vec::new(), Vec::new(), Vec::new());
    for (number, (column, name)) in described.iter().zip(&names.all).enumerate() {
        let number = number + 1;
        inner.push(format!("a{number}"));
        if column.kind == Kind::Bytes {
            arrays.push(format!("${number}::bytea[]"));
            selected.push(format!("a{number} as {name}"));
        } else {
            arrays.push(format!("${number}::text[]"));
            // A cast to bit(1), which is what `bit` means, would cut.
            let ty = if column.type_name == "\"bit\"" {
                "bit varying"
            } else {
                &column.type_name
            };
            selected.push(format!("a{number}::{ty} as {name}"));
        }
    }
    let bytes: Vec<bool> = described.iter().map(|column| column.kind == Kind::Bytes).collect();
    let (arrays, inner, selected) = (arrays.join(", "), inner.join(", "), selected.join(", "));
    let given = format!("select {selected} from unnest({arrays}) as g({inner})");
    let same = joined(&names.key, " and ", |name| format!("t.{name} = r.{name}"));
    let sql = match (operation, mode) {
        (Operation::Truncate, _) => return truncate(first, dialect),
        (Operation::Delete, _) => format!("delete from {table} as t using ({given}) as r where {same}"),
        (Operation::Put, Mode::Update) => {
            let set = joined(&names.others, ", ", |name| format!("{name} = r.{name}"));
            format!("update {table} as t set {set} from ({given}) as r where {same}")
        }
        // A column that counts by itself takes what is given, as the other databases' do.
        (Operation::Put, _) => format!(
            "insert into {table} ({}) overriding system value {given}{}",
            names.all.join(", "),
            on_conflict(&names, mode)
        ),
    };
    Statement::new(sql, transposed(rows, &bytes))
}

/// The rows' values, column by column.
fn transposed(rows: Vec<Row>, bytes: &[bool]) -> Vec<Value> {
    let mut texts: Vec<Vec<Option<String>>> = bytes.iter().map(|_| Vec::with_capacity(rows.len())).collect();
    let mut binary: Vec<Vec<Option<Vec<u8>>>> = bytes.iter().map(|_| Vec::new()).collect();
    for row in rows {
        for (((value, is_bytes), texts), binary) in row.values.into_iter().zip(bytes).zip(&mut texts).zip(&mut binary) {
            match (value, is_bytes) {
                (Value::Bytes(value), true) => binary.push(Some(value)),
                (Value::Text(value), true) => binary.push(Some(value.into_bytes())),
                (_, true) => binary.push(None),
                (Value::Text(value), false) => texts.push(Some(value)),
                (Value::Integer(value), false) => texts.push(Some(value.to_string())),
                (Value::Real(value), false) => texts.push(Some(value.to_string())),
                (_, false) => texts.push(None),
            }
        }
    }
    let column = |((is_bytes, texts), binary): ((&bool, _), _)| match is_bytes {
        true => Value::ByteStrings(binary),
        false => Value::Texts(texts),
    };
    bytes.iter().zip(texts).zip(binary).map(column).collect()
}

fn by_values(rows: Vec<Row>, mode: Mode, dialect: Dialect) -> Statement {
    let Some(first) = rows.first() else {
        return Statement::new("", Vec::new());
    };
    let names = Names::of(first, dialect);
    let table = first.table.name.quoted(dialect);
    let tuple = format!("({})", vec!["?"; first.columns.len()].join(", "));
    let tuples = vec![tuple; rows.len()].join(", ");
    let all = names.all.join(", ");
    if first.operation == Operation::Put && mode == Mode::Update {
        return update(rows, &names, &table);
    }
    let sql = match (first.operation, dialect) {
        (Operation::Truncate, _) => return truncate(first, dialect),
        (Operation::Delete, Dialect::MySql) => format!("delete from {table} where ({all}) in ({tuples})"),
        (Operation::Delete, _) => format!("delete from {table} where ({all}) in (values {tuples})"),
        (Operation::Put, Dialect::MySql) => format!("insert into {table} ({all}) values {tuples}{}", on_duplicate(&names, mode)),
        (Operation::Put, _) => format!("insert into {table} ({all}) values {tuples}{}", on_conflict(&names, mode)),
    };
    Statement::new(sql, rows.into_iter().flat_map(|row| row.values).collect())
}

fn on_duplicate(names: &Names, mode: Mode) -> String {
    let Some(key) = names.key.first() else { return String::new() };
    if mode == Mode::Upsert && !names.others.is_empty() {
        let set = joined(&names.others, ", ", |name| format!("{name} = values({name})"));
        return format!(" on duplicate key update {set}");
    }
    // Leaves the row as it is; `insert ignore` would also hide values that don't fit.
    format!(" on duplicate key update {key} = {key}")
}

/// Can the row meet another one in a unique index that is not the key's? MySQL's `on duplicate key update` would then change
/// that other row.
fn conflicts_beside_key(row: &Row) -> bool {
    let written = |index: &Vec<String>| row.names().any(|name| index.contains(name));
    row.operation == Operation::Put && !row.key.is_empty() && row.table.other_unique(&row.key).any(written)
}

/// An update by the key alone, and an insert where there is no such row: an index that is not the key's refuses it.
fn update_or_insert(row: Row, mode: Mode) -> Write {
    let dialect = Dialect::MySql;
    let names = Names::of(&row, dialect);
    let table = row.table.name.quoted(dialect);
    let places = vec!["?"; row.values.len()].join(", ");
    let insert = format!("insert into {table} ({}) values ({places})", names.all.join(", "));
    let insert = Statement::new(insert, row.values.clone());
    let statement = if mode == Mode::Upsert && !names.others.is_empty() {
        update(vec![row], &names, &table)
    } else {
        find(&row, &names, &table)
    };
    Write {
        statement,
        otherwise: Some(insert),
    }
}

/// An update of a row that changes nothing: it counts the row when it is there.
fn find(row: &Row, names: &Names, table: &str) -> Statement {
    let set = joined(&names.key, ", ", |name| format!("{name} = {name}"));
    let is_key = |(name, value): (&String, &Value)| row.key.contains(name).then(|| (Dialect::MySql.quote(name), value.clone()));
    let (keys, values): (Vec<String>, Vec<Value>) = row.names().zip(&row.values).filter_map(is_key).unzip();
    let found = joined(&keys, " and ", |name| format!("{name} = ?"));
    Statement::new(format!("update {table} set {set} where {found}"), values)
}

/// One row.
fn update(rows: Vec<Row>, names: &Names, table: &str) -> Statement {
    let set = joined(&names.others, ", ", |name| format!("{name} = ?"));
    let (mut changed, mut found, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let columns: Vec<bool> = row.names().map(|name| row.key.contains(name)).collect();
        for ((value, is_key), name) in row.values.into_iter().zip(columns).zip(&names.all) {
            if is_key {
                found.push(value);
                keys.push(format!("{name} = ?"));
            } else {
                changed.push(value);
            }
        }
    }
    changed.extend(found);
    Statement::new(format!("update {table} set {set} where {}", keys.join(" and ")), changed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use openconnect_change::Column;
    use openconnect_sql::{Table, TableName};

    use super::*;

    fn table(dialect: Dialect) -> Arc<Table> {
        let column = |name: &str, kind, ty: &str| Column {
            name: name.into(),
            kind,
            type_name: ty.into(),
            generated: false,
        };
        Arc::new(Table {
            name: TableName::parse(dialect, "a"),
            columns: vec![column("id", Kind::Integer, "bigint"), column("v", Kind::Text, "text")],
            key: vec!["id".into()],
            unique: Vec::new(),
            declared: Vec::new(),
            identity: Vec::new(),
        })
    }

    fn row(table: &Arc<Table>, operation: Operation, id: i64, text: &str) -> Row {
        let mut row = Row {
            table: Arc::clone(table),
            key: ["id".to_owned()].into(),
            operation,
            columns: vec![0, 1],
            values: vec![Value::Integer(id), Value::Text(text.into())],
        };
        if operation == Operation::Delete {
            row.columns.truncate(1);
            row.values.truncate(1);
        }
        row
    }

    #[test]
    fn rows_of_one_shape_share_a_statement_and_the_last_of_a_key_decides() {
        use Operation::{Delete, Put};
        let table = table(Dialect::Sqlite);
        let rows = vec![
            row(&table, Put, 1, "x"),
            row(&table, Put, 2, "y"),
            row(&table, Put, 1, "z"),
            row(&table, Delete, 1, ""),
            row(&table, Put, 1, "w"),
        ];
        let statements = statements(rows, Mode::Upsert, Dialect::Sqlite);
        assert_eq!(statements.len(), 3);
        assert_eq!(
            statements[0].statement.sql,
            "insert into \"a\" (\"id\", \"v\") values (?, ?), (?, ?) on conflict (\"id\") do update set \"v\" = excluded.\"v\""
        );
        assert_eq!(statements[0].statement.values[1], Value::Text("z".into()));
        assert_eq!(statements[1].statement.sql, "delete from \"a\" where (\"id\") in (values (?))");
    }

    #[test]
    fn row_counts_are_powers_of_two_where_each_needs_a_statement() {
        let table = table(Dialect::MySql);
        let rows = (0..7).map(|id| row(&table, Operation::Put, id, "x")).collect();
        let statements = statements(rows, Mode::Insert, Dialect::MySql);
        assert_eq!(
            statements.iter().map(|write| write.statement.values.len() / 2).collect::<Vec<_>>(),
            [4, 2, 1]
        );
        assert!(statements[0].statement.sql.ends_with(" on duplicate key update `id` = `id`"));
    }

    #[test]
    fn postgresql_gets_arrays() {
        let table = table(Dialect::Postgres);
        let rows = (0..3).map(|id| row(&table, Operation::Put, id, "x")).collect();
        let statements = statements(rows, Mode::Update, Dialect::Postgres);
        assert_eq!(
            statements[0].statement.sql,
            "update \"a\" as t set \"v\" = r.\"v\" from (select a1::bigint as \"id\", a2::text as \"v\" \
             from unnest($1::text[], $2::text[]) as g(a1, a2)) as r where t.\"id\" = r.\"id\""
        );
        assert_eq!(statements[0].statement.values.len(), 2);
    }

    #[test]
    fn a_second_unique_index_of_mysql_is_no_reason_to_change_another_row() {
        let mut table = Table::clone(&table(Dialect::MySql));
        table.unique = vec![vec!["id".into()], vec!["v".into()]];
        let table = Arc::new(table);
        let writes = statements(vec![row(&table, Operation::Put, 1, "x")], Mode::Upsert, Dialect::MySql);
        assert_eq!(writes[0].statement.sql, "update `a` set `v` = ? where `id` = ?");
        let insert = writes[0].otherwise.as_ref().map(|insert| insert.sql.as_str());
        assert_eq!(insert, Some("insert into `a` (`id`, `v`) values (?, ?)"));
        let writes = statements(vec![row(&table, Operation::Put, 1, "x")], Mode::Insert, Dialect::MySql);
        assert_eq!(writes[0].statement.sql, "update `a` set `id` = `id` where `id` = ?");
    }
}
