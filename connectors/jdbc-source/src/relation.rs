//! What is read: a table or a query, its columns, and those that order it.

use std::collections::BTreeMap;

use openconnect_change::{Column, Kind};
use openconnect_core::Failure;
use openconnect_sql::{Connection, Dialect, Keyset, NamePattern, Table, TableName, missing};

use crate::config::JdbcSourceConfig;
use crate::query;

/// The name of a query's relation: of its partition, and in its events.
const QUERY: &str = "query";

/// A table or a query.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    pub(crate) name: String,
    pub(crate) rows: Keyset,
    /// Places of the columns that identify a row; where there are none, the ordering ones do.
    pub(crate) key: Vec<usize>,
}

/// What the configuration names.
pub(crate) struct Found {
    /// By their names.
    pub(crate) relations: BTreeMap<String, Relation>,
    /// A table that is named and is not there, or may not be read.
    pub(crate) absent: Option<String>,
}

impl Found {
    /// The table that is missing, as a failure.
    pub(crate) fn complete(&self) -> Result<(), Failure> {
        match &self.absent {
            Some(name) => Err(missing(format!("there is no table `{name}` that may be read"))),
            None => Ok(()),
        }
    }
}

/// Looks at all relations that the configuration names. A table that can't be read is said, and the others are.
pub(crate) async fn find(config: &JdbcSourceConfig, connection: &mut Connection) -> Result<Found, Failure> {
    let mut found = BTreeMap::new();
    if let Some(query) = &config.query {
        let dialect = connection.dialect();
        // What ends in a comment ends with its line.
        let query = format!("({}\n)", query::without_end(query, dialect));
        let columns = connection.describe(&format!("select * from {query} as q where 1 = 0")).await?;
        let relation = Relation::new(config, dialect, QUERY, query, columns, &[])?;
        found.insert(QUERY.to_owned(), relation);
        return Ok(Found {
            relations: found,
            absent: None,
        });
    }
    let [wanted, unwanted] =
        [&config.tables, &config.exclude].map(|names| names.iter().map(|name| NamePattern::new(name)).collect::<Vec<_>>());
    for name in Table::names(connection).await? {
        let text = name.to_string();
        let named = |patterns: &[NamePattern]| patterns.iter().any(|pattern| pattern.matches(&text));
        if !named(&wanted) || named(&unwanted) {
            continue;
        }
        let Some(relation) = table(config, connection, &name).await? else {
            continue;
        };
        found.insert(text, relation);
    }
    let absent = config.tables.iter().find(|name| !name.contains('*') && !found.contains_key(*name));
    let absent = absent.cloned();
    Ok(Found { relations: found, absent })
}

async fn table(config: &JdbcSourceConfig, connection: &mut Connection, name: &TableName) -> Result<Option<Relation>, Failure> {
    let dialect = connection.dialect();
    let Some(table) = Table::load(connection, name).await? else {
        return Ok(None);
    };
    let text = name.to_string();
    let relation = Relation::new(config, dialect, &text, name.quoted(dialect), table.columns, &table.key);
    match relation {
        Ok(relation) => Ok(Some(relation)),
        Err(failure) if config.tables.contains(&text) => Err(failure),
        Err(failure) => {
            // A pattern may meet tables that were not meant.
            tracing::warn!(table = text, reason = failure.reason(), "this table is not read");
            Ok(None)
        }
    }
}

impl Relation {
    fn new(
        config: &JdbcSourceConfig,
        dialect: Dialect,
        name: &str,
        from: String,
        columns: Vec<Column>,
        primary_key: &[String],
    ) -> Result<Self, Failure> {
        let place = |column: &String| {
            let at = columns.iter().position(|known| known.name == *column);
            at.ok_or_else(|| missing(format!("`{name}` has no column `{column}`")))
        };
        let key = if config.key.is_empty() { primary_key } else { &config.key };
        let (names, keyed) = config.order();
        let mut order = names.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        let key = key.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        if keyed {
            if key.is_empty() {
                return Err(missing(format!(
                    "`{name}` has no primary key; name the columns that identify a row in source.key"
                )));
            }
            for at in &key {
                if !order.contains(at) {
                    order.push(*at);
                }
            }
        }
        for column in order.iter().filter_map(|at| columns.get(*at)) {
            let inexact = matches!(column.kind, Kind::Float | Kind::Double) && dialect != Dialect::Sqlite;
            if inexact || matches!(column.kind, Kind::Json | Kind::Array) {
                return Err(missing(format!(
                    "`{name}` can't be read by the column `{}`: a {} has no exact order",
                    column.name, column.type_name
                )));
            }
        }
        // A row whose time has not come would end the reading: what comes until then is before it.
        let time = names
            .first()
            .filter(|_| config.timestamp.is_some())
            .and_then(|_| columns.get(*order.first()?));
        let condition = time.and_then(|time| Some(format!("r.{} <= {}", dialect.quote(&time.name), latest(dialect, time.kind)?)));
        Ok(Self {
            name: name.to_owned(),
            rows: Keyset {
                from,
                columns,
                order,
                condition,
            },
            key,
        })
    }
}

/// The latest time that a row may have now, in SQL. Without a zone it may be that of any zone.
fn latest(dialect: Dialect, kind: Kind) -> Option<&'static str> {
    Some(match (dialect, kind) {
        (Dialect::Postgres, Kind::TimestampTz) => "now()",
        (Dialect::Postgres, Kind::Timestamp) => "(now() at time zone 'UTC' + interval '14 hours')",
        (Dialect::Postgres, Kind::Date) => "(now() at time zone 'UTC' + interval '14 hours')::date",
        (Dialect::MySql, Kind::TimestampTz) => "utc_timestamp(6)",
        (Dialect::MySql, Kind::Timestamp | Kind::Date) => "(utc_timestamp(6) + interval 14 hour)",
        // SQLite's times are texts or numbers of any form.
        _ => return None,
    })
}
