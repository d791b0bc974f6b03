//! A table's columns, primary key and unique indexes.

use std::fmt;

use openconnect_change::{Cell, Column, Kind};
use openconnect_core::Failure;

use crate::connection::Connection;
use crate::dialect::Dialect;
use crate::kind;
use crate::statement::{Statement, Value};

/// More bytes than any description of a table has.
const DESCRIPTION: usize = 16 << 20;

/// A table's name, with its schema where it has one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    schema: Option<String>,
    name: String,
}

impl TableName {
    /// `table` or `schema.table`. SQLite has no schemas: a dot is a part of the name.
    pub fn parse(dialect: Dialect, text: &str) -> Self {
        match text.split_once('.') {
            Some((schema, name)) if dialect != Dialect::Sqlite && !schema.is_empty() && !name.is_empty() => Self {
                schema: Some(schema.to_owned()),
                name: name.to_owned(),
            },
            _ => Self {
                schema: None,
                name: text.to_owned(),
            },
        }
    }

    /// As it stands in a statement.
    pub fn quoted(&self, dialect: Dialect) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", dialect.quote(schema), dialect.quote(&self.name)),
            None => dialect.quote(&self.name),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: TableName,
    /// In the table's order.
    pub columns: Vec<Column>,
    /// The primary key's columns, in its order.
    pub key: Vec<String>,
    /// The columns of each unique index, the primary key among them where it is one.
    pub unique: Vec<Vec<String>>,
    /// The type of each column as the database writes it, with lengths and digits.
    pub declared: Vec<String>,
    /// Columns that count by themselves, and that no update may set (PostgreSQL's `generated always as identity`).
    pub identity: Vec<String>,
}

impl Table {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Is there a unique index on exactly these columns, in any order?
    pub fn has_unique(&self, columns: &[String]) -> bool {
        self.unique.iter().any(|index| same_columns(index, columns))
    }

    /// The unique indexes on other columns than these.
    pub fn other_unique(&self, columns: &[String]) -> impl Iterator<Item = &Vec<String>> {
        self.unique.iter().filter(move |index| !same_columns(index, columns))
    }

    /// Looks at a table; none when it is not there, or may not be seen.
    pub async fn load(connection: &mut Connection, name: &TableName) -> Result<Option<Self>, Failure> {
        let table = match connection.dialect() {
            Dialect::Postgres => postgres(connection, name).await?,
            Dialect::MySql => mysql(connection, name).await?,
            Dialect::Sqlite => sqlite(connection, name).await?,
        };
        Ok(Some(table).filter(|table| !table.columns.is_empty()))
    }

    /// The names of all tables that can be seen, without the system's own. PostgreSQL's have their schema when it is not
    /// the current one.
    pub async fn names(connection: &mut Connection) -> Result<Vec<TableName>, Failure> {
        let sql = match connection.dialect() {
            Dialect::Postgres => {
                "select nullif(n.nspname::text, current_schema()::text), c.relname::text from pg_catalog.pg_class c \
                 join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p') and not c.relispartition \
                 and n.nspname <> 'information_schema' and n.nspname not like 'pg\\_%' order by 1, 2"
            }
            Dialect::MySql => {
                "select null, cast(table_name as char) from information_schema.tables \
                 where table_schema = database() and table_type = 'BASE TABLE' order by 2"
            }
            Dialect::Sqlite => {
                "select null, name from sqlite_schema where type = 'table' and name not like 'sqlite\\_%' escape '\\' order by 2"
            }
        };
        let rows = rows(connection, sql, Vec::new()).await?;
        let name = |row: Vec<Cell>| {
            let mut cells = row.into_iter();
            let (schema, name) = (cells.next()?, cells.next()?);
            Some(TableName {
                schema: schema.text().map(str::to_owned),
                name: name.text()?.to_owned(),
            })
        };
        Ok(rows.into_iter().filter_map(name).collect())
    }
}

async fn rows(connection: &mut Connection, sql: &str, values: Vec<Value>) -> Result<Vec<Vec<Cell>>, Failure> {
    Ok(connection.query(&Statement::new(sql, values), DESCRIPTION).await?.0)
}

fn text(row: &[Cell], at: usize) -> String {
    match row.get(at) {
        Some(Cell::Text(text)) => text.clone(),
        Some(Cell::Integer(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// Names with their place in a key, in the key's order.
fn in_order(mut places: Vec<(i64, String)>) -> Vec<String> {
    places.sort();
    places.into_iter().map(|(_, name)| name).collect()
}

fn same_columns(index: &[String], columns: &[String]) -> bool {
    index.len() == columns.len() && index.iter().all(|column| columns.contains(column))
}

async fn postgres(connection: &mut Connection, name: &TableName) -> Result<Table, Failure> {
    // A type modifier of -1 says "no length": a cast to varchar(3) would cut a value that does not fit and say nothing.
    let sql = "select a.attname::text, b.typname::text, b.typcategory::text, format_type(a.atttypid, -1), (a.attgenerated <> '')::text, \
               coalesce(array_position(i.indkey::int2[], a.attnum), -1)::text, \
               case when t.typtype = 'd' then format_type(t.typbasetype, t.typtypmod) else format_type(a.atttypid, a.atttypmod) end, \
               (a.attidentity = 'a')::text \
               from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid \
               join pg_catalog.pg_type b on b.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end \
               left join pg_catalog.pg_index i on i.indrelid = a.attrelid and i.indisprimary \
               where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped order by a.attnum";
    let found = rows(connection, sql, vec![Value::Text(name.quoted(Dialect::Postgres))]).await?;
    let (mut key, mut declared, mut identity) = (Vec::new(), Vec::new(), Vec::new());
    let mut columns = Vec::new();
    for row in found {
        declared.push(text(&row, 6));
        if text(&row, 7) == "true" {
            identity.push(text(&row, 0));
        }
        let place: i64 = text(&row, 5).parse().unwrap_or(-1);
        if place >= 0 {
            key.push((place, text(&row, 0)));
        }
        columns.push(Column {
            name: text(&row, 0),
            kind: kind::postgres(&text(&row, 1), &text(&row, 2)),
            type_name: text(&row, 3),
            generated: text(&row, 4) == "true",
        });
    }
    let sql = "select i.indexrelid::text, a.attname::text from pg_catalog.pg_index i \
               cross join lateral unnest(i.indkey::int2[]) with ordinality as k(attnum, n) \
               join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum \
               where i.indrelid = to_regclass($1) and i.indisunique and k.n <= i.indnkeyatts order by i.indexrelid, k.n";
    let unique = rows(connection, sql, vec![Value::Text(name.quoted(Dialect::Postgres))]).await?;
    Ok(Table {
        name: name.clone(),
        columns,
        key: in_order(key),
        unique: by_index(&unique).into_iter().map(|(_, columns)| columns).collect(),
        declared,
        identity,
    })
}

async fn mysql(connection: &mut Connection, name: &TableName) -> Result<Table, Failure> {
    let named = || {
        let schema = name.schema.clone().map_or(Value::Null, Value::Text);
        vec![schema, Value::Text(name.name.clone())]
    };
    let wanted = "table_schema = coalesce(?, database()) and table_name = ?";
    let json = mariadb_json(connection, named()).await?;
    let sql = format!(
        "select cast(column_name as char), cast(data_type as char), cast(column_type as char), cast(extra as char) \
         from information_schema.columns where {wanted} order by ordinal_position"
    );
    let column = |row: Vec<Cell>| {
        let (name, data_type, extra) = (text(&row, 0), text(&row, 1), text(&row, 3).to_ascii_uppercase());
        let is_json = json.iter().any(|clause| *clause == format!("json_valid(`{name}`)"));
        Column {
            kind: if is_json {
                Kind::Json
            } else {
                kind::mysql(&data_type, &text(&row, 2))
            },
            // With its members: a number that is none of them would be taken as a place.
            type_name: match data_type.as_str() {
                "enum" | "set" => text(&row, 2),
                _ => data_type,
            },
            generated: extra.contains("VIRTUAL GENERATED") || extra.contains("STORED GENERATED"),
            name,
        }
    };
    let found = rows(connection, &sql, named()).await?;
    let declared = found.iter().map(|row| text(row, 2)).collect();
    let columns = found.into_iter().map(column).collect();
    let sql = format!(
        "select cast(index_name as char), cast(column_name as char) from information_schema.statistics \
         where {wanted} and non_unique = 0 order by index_name, seq_in_index"
    );
    let unique = by_index(&rows(connection, &sql, named()).await?);
    let key = unique.iter().find(|(index, _)| index == "PRIMARY");
    Ok(Table {
        name: name.clone(),
        columns,
        key: key.map(|(_, columns)| columns.clone()).unwrap_or_default(),
        unique: unique.into_iter().map(|(_, columns)| columns).collect(),
        declared,
        identity: Vec::new(),
    })
}

/// Rows of an index's name and a column of it, index by index.
fn by_index(rows: &[Vec<Cell>]) -> Vec<(String, Vec<String>)> {
    let mut unique = Vec::<(String, Vec<String>)>::new();
    for row in rows {
        let (index, column) = (text(row, 0), text(row, 1));
        match unique.last_mut() {
            Some((last, columns)) if *last == index => columns.push(column),
            _ => unique.push((index, vec![column])),
        }
    }
    unique
}

/// MariaDB's JSON is text with a check; the clauses of such checks.
async fn mariadb_json(connection: &mut Connection, named: Vec<Value>) -> Result<Vec<String>, Failure> {
    let version = rows(connection, "select cast(version() as char)", Vec::new()).await?;
    if !version.first().is_some_and(|row| text(row, 0).contains("MariaDB")) {
        return Ok(Vec::new());
    }
    let sql = "select cast(check_clause as char) from information_schema.check_constraints \
               where constraint_schema = coalesce(?, database()) and table_name = ?";
    let found = rows(connection, sql, named).await?;
    Ok(found.iter().map(|row| text(row, 0)).collect())
}

async fn sqlite(connection: &mut Connection, name: &TableName) -> Result<Table, Failure> {
    let sql = "select name, type, hidden, pk from pragma_table_xinfo(?) where hidden <> 1 order by cid";
    let mut key = Vec::new();
    let mut columns = Vec::new();
    for row in rows(connection, sql, vec![Value::Text(name.name.clone())]).await? {
        if let Some(Cell::Integer(place @ 1..)) = row.get(3) {
            key.push((*place, text(&row, 0)));
        }
        let declared = text(&row, 1);
        columns.push(Column {
            name: text(&row, 0),
            kind: kind::sqlite(&declared),
            type_name: declared,
            generated: row.get(2) != Some(&Cell::Integer(0)),
        });
    }
    let sql =
        "select l.name, i.name from pragma_index_list(?) l join pragma_index_info(l.name) i where l.\"unique\" order by l.name, i.seqno";
    let unique = rows(connection, sql, vec![Value::Text(name.name.clone())]).await?;
    Ok(Table {
        name: name.clone(),
        declared: columns.iter().map(|column| column.type_name.clone()).collect(),
        columns,
        key: in_order(key),
        unique: by_index(&unique).into_iter().map(|(_, columns)| columns).collect(),
        identity: Vec::new(),
    })
}
