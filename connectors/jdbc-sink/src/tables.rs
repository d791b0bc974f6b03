//! Which tables there are, as the sink has seen them; tables and columns that are made where the configuration says so.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use openconnect_change::Input;
use openconnect_core::Failure;
use openconnect_sql::{Dialect, NamePattern, Pool, Table, TableName, missing};
use serde_json::value::RawValue;

use crate::codes;
use crate::config::JdbcSinkConfig;
use crate::event::{Change, Operation};

/// Tables that are remembered.
const TABLES: usize = 256;
/// How often a table is looked at again for a field that has no column.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A table and the columns that identify its rows.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) table: Arc<Table>,
    pub(crate) key: Arc<[String]>,
    looked: Instant,
}

impl Known {
    /// Has the change a field without a column, and was the table not looked at of late?
    fn may_be_old(&self, change: &Change<'_>) -> bool {
        self.looked.elapsed() >= LOOK_AGAIN
            && change.operation == Operation::Put
            && change.fields.iter().any(|(name, _)| self.table.column(name).is_none())
    }
}

/// The target's tables.
pub(crate) struct Tables {
    pool: Pool,
    allowed: Vec<NamePattern>,
    key: Arc<[String]>,
    keyed: bool,
    create: bool,
    add: bool,
    /// Events of different keys may overtake each other.
    reorders: bool,
    known: Mutex<HashMap<String, Known>>,
}

impl Tables {
    pub(crate) fn new(config: &JdbcSinkConfig, pool: &Pool, reorders: bool) -> Self {
        Self {
            pool: pool.clone(),
            allowed: config.tables.iter().map(|text| NamePattern::new(text)).collect(),
            key: config.key.clone().into(),
            keyed: config.is_keyed(),
            create: config.create_tables,
            add: config.add_columns,
            reorders,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at all tables again: one may have been changed.
    pub(crate) fn forget(&self) {
        self.known().clear();
    }

    /// The configured key, where the table need not be asked.
    pub(crate) fn configured_key(&self) -> Option<&Arc<[String]>> {
        (!self.keyed || !self.key.is_empty()).then_some(&self.key)
    }

    /// May events be written to the table of that name?
    pub(crate) fn allow(&self, name: &str) -> Result<(), Failure> {
        if self.allowed.is_empty() || self.allowed.iter().any(|pattern| pattern.matches(name)) {
            return Ok(());
        }
        let name: String = name.chars().take(64).collect();
        Err(Failure::permanent(
            codes::SQL_TABLE_NOT_ALLOWED,
            format!("the table `{name}` is none of sink.tables"),
        ))
    }

    /// The table; one that is missing is waited for.
    pub(crate) async fn get(&self, name: &str) -> Result<Known, Failure> {
        match self.find(name).await? {
            Some(known) => Ok(known),
            None => Err(missing(format!("there is no table `{name}`"))),
        }
    }

    /// Looks at tables again that were looked at before; has one of them changed since?
    pub(crate) async fn have_changed(&self, names: &BTreeSet<String>) -> Result<bool, Failure> {
        let mut changed = false;
        for name in names {
            let Some(before) = self.known().remove(name) else { continue };
            let now = self.find(name).await?;
            changed |= now.is_none_or(|now| now.table != before.table);
        }
        Ok(changed)
    }

    /// The table with a column for each of the change's fields, where the configuration lets the sink make them.
    pub(crate) async fn fitting(&self, name: &str, change: &Change<'_>) -> Result<Known, Failure> {
        if self.known().get(name).is_some_and(|known| known.may_be_old(change)) {
            self.known().remove(name);
        }
        if change.operation != Operation::Put || !(self.create || self.add) {
            return self.get(name).await;
        }
        let dialect = self.pool.dialect();
        let found = match self.find(name).await? {
            Some(known) => known,
            None if self.create => self.made(name, &create_table(dialect, name, change, &self.key)).await?,
            None => return Err(missing(format!("there is no table `{name}`"))),
        };
        if !self.add {
            return Ok(found);
        }
        let lacking = new_columns(dialect, change, &[]);
        let lacking: Vec<_> = lacking.into_iter().filter(|(name, _)| found.table.column(name).is_none()).collect();
        if lacking.is_empty() {
            return Ok(found);
        }
        let table = found.table.name.quoted(dialect);
        let mut last = found;
        for (column, ty) in lacking {
            let sql = format!("alter table {table} add column {} {ty}", dialect.quote(&column));
            last = self.made(name, &sql).await?;
            if last.table.column(&column).is_none() {
                return Err(missing(format!("the column `{column}` of `{name}` could not be added")));
            }
        }
        Ok(last)
    }

    /// Runs a statement that makes something, unless somebody was faster; the table as it is then.
    async fn made(&self, name: &str, sql: &str) -> Result<Known, Failure> {
        let done = self.pool.acquire().await?.run(sql).await;
        match &done {
            Ok(()) => tracing::info!(table = name, sql, "changed the schema"),
            Err(failure) => tracing::warn!(table = name, sql, error = format!("{failure:#}"), "could not change the schema"),
        }
        self.known().remove(name);
        match (self.find(name).await?, done) {
            (Some(known), _) => Ok(known),
            (None, Err(failure)) => Err(missing(failure.reason())),
            (None, Ok(())) => Err(missing(format!("there is no table `{name}`"))),
        }
    }

    async fn find(&self, name: &str) -> Result<Option<Known>, Failure> {
        if let Some(known) = self.known().get(name) {
            return Ok(Some(known.clone()));
        }
        let dialect = self.pool.dialect();
        let mut connection = self.pool.acquire().await?;
        let Some(table) = Table::load(&mut connection, &TableName::parse(dialect, name)).await? else {
            return Ok(None);
        };
        drop(connection);
        let key = if self.keyed && self.key.is_empty() {
            table.key.clone().into()
        } else {
            Arc::clone(&self.key)
        };
        if self.keyed && key.is_empty() {
            return Err(missing(format!("`{name}` has no primary key; name the columns in sink.key")));
        }
        if dialect == Dialect::MySql && !key.is_empty() && !table.has_unique(&key) {
            // The others refuse such an upsert; MySQL would insert the row again and again.
            return Err(missing(format!("`{name}` has no unique index on exactly {}", key.join(", "))));
        }
        let others: Vec<String> = table.other_unique(&key).map(|columns| columns.join(", ")).collect();
        if self.reorders && !key.is_empty() && !others.is_empty() {
            tracing::info!(
                table = name,
                unique = others.join("; "),
                "values of a unique index beside the key can move between rows only with `delivery.ordering: total`"
            );
        }
        let known = Known {
            table: Arc::new(table),
            key,
            looked: Instant::now(),
        };
        let mut all = self.known();
        if all.len() >= TABLES {
            all.clear();
        }
        all.insert(name.to_owned(), known.clone());
        Ok(Some(known))
    }
}

fn create_table(dialect: Dialect, name: &str, change: &Change<'_>, key: &[String]) -> String {
    let columns = new_columns(dialect, change, key).into_iter();
    let mut parts: Vec<String> = columns.map(|(name, ty)| format!("{} {ty}", dialect.quote(&name))).collect();
    if !key.is_empty() {
        parts.push(format!("primary key ({})", dialect.quote_all(key)));
    }
    format!(
        "create table if not exists {} ({})",
        TableName::parse(dialect, name).quoted(dialect),
        parts.join(", ")
    )
}

/// The columns that the fields need. A null says nothing of its type: its column is made when a value comes.
fn new_columns(dialect: Dialect, change: &Change<'_>, key: &[String]) -> Vec<(String, &'static str)> {
    change
        .fields
        .iter()
        .filter_map(|(name, input)| Some((name.to_string(), column_type(dialect, input, key.iter().any(|key| key == name))?)))
        .collect()
}

fn column_type(dialect: Dialect, input: &Input<'_>, is_key: bool) -> Option<&'static str> {
    let [boolean, integer, number, text, json, bytes] = match dialect {
        Dialect::Postgres => ["boolean", "bigint", "numeric", "text", "jsonb", "bytea"],
        // A text of any length can't be a key there.
        Dialect::MySql if is_key => [
            "boolean",
            "bigint",
            "decimal(65,30)",
            "varchar(255)",
            "varchar(255)",
            "varbinary(255)",
        ],
        Dialect::MySql => ["boolean", "bigint", "decimal(65,30)", "longtext", "json", "longblob"],
        Dialect::Sqlite => ["boolean", "integer", "", "text", "json", "blob"],
    };
    Some(match input {
        Input::Null => return None,
        Input::Bool(_) => boolean,
        Input::Integer(_) => integer,
        Input::Text(_) => text,
        Input::Document(_) => json,
        Input::Bytes(_) => bytes,
        Input::Json(raw) => match raw.get().as_bytes().first() {
            Some(b'n') => return None,
            Some(b't' | b'f') => boolean,
            Some(b'"') => text,
            Some(b'{' | b'[') => json,
            _ if is_integer(raw) => integer,
            _ => number,
        },
    })
}

fn is_integer(raw: &RawValue) -> bool {
    raw.get().parse::<i64>().is_ok()
}
