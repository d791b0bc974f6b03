//! The rows that are there, table by table, page by page. It can be gone on with in the middle of a table.
//!
//! The place in the log is taken before the first row is read: what changes meanwhile is in the log behind it, so that the rows
//! and then the log end in what the tables are.

use std::collections::BTreeMap;

use openconnect_core::Failure;
use openconnect_core::record::{Partition, Record};
use openconnect_sql::{Cell, Dialect, Keyset, Mark, Pool, Select, Table, key_text, missing};

use crate::config::MySqlCdcConfig;
use crate::event::{Change, Events, Origin};
use crate::position::{Position, SnapshotPosition};

/// Bytes of one page.
const PAGE_BYTES: usize = 8 << 20;

/// A snapshot that is being made.
pub(crate) struct Snapshot {
    database: String,
    /// What is left, by name; the first one may be begun.
    tables: BTreeMap<String, Keyset>,
    pub(crate) position: Position,
}

impl Snapshot {
    /// Looks at the tables. `position` is where the log goes on, and how far the snapshot has come.
    pub(crate) async fn begin(config: &MySqlCdcConfig, pool: &Pool, database: &str, position: Position) -> Result<Self, Failure> {
        let done = position.snapshot.clone().unwrap_or_default();
        let mut connection = pool.acquire().await?;
        let mut tables = BTreeMap::new();
        for name in Table::names(&mut connection).await? {
            let text = name.to_string();
            let is_done = done
                .table
                .as_ref()
                .is_some_and(|last| text < *last || (text == *last && done.after.is_none()));
            if !config.wants(&text) || is_done {
                continue;
            }
            let Some(table) = Table::load(&mut connection, &name).await? else {
                continue;
            };
            if table.key.is_empty() {
                return Err(missing(format!(
                    "`{text}` has no primary key, so its rows can't be read page by page; exclude it or give it one"
                )));
            }
            let order = table
                .key
                .iter()
                .filter_map(|key| table.columns.iter().position(|column| column.name == *key))
                .collect();
            let from = name.quoted(Dialect::MySql);
            let columns = table.columns;
            tables.insert(text, Keyset { from, columns, order });
        }
        Ok(Self {
            database: database.to_owned(),
            tables,
            position,
        })
    }

    /// The next page; nothing once all tables are done.
    pub(crate) async fn next(
        &mut self,
        pool: &Pool,
        events: &Events,
        partition: &Partition,
        rows: u32,
    ) -> Result<Option<Vec<Record<Position>>>, Failure> {
        let Some((name, keyset)) = self.tables.first_key_value() else {
            return Ok(None);
        };
        let progress = self.position.snapshot.clone().unwrap_or_default();
        let after = progress.after.filter(|_| progress.table.as_ref() == Some(name));
        let select = Select::rows(keyset, Dialect::MySql).after(after.as_deref())?;
        let (page, cut) = pool.acquire().await?.query(&select.page(rows), PAGE_BYTES).await?;
        let more = cut || page.len() >= rows as usize;
        let mut records = Vec::with_capacity(page.len() + 1);
        let mut last = after;
        for cells in page {
            last = keyset.order.iter().map(|at| cells.get(*at).and_then(Mark::of)).collect();
            let position = self.at(name, last.clone());
            let event = self.event(name, keyset, &cells, events)?;
            records.push(Record {
                event: Some(event),
                partition: partition.clone(),
                position: Some(position),
                receipt: None,
            });
        }
        let name = name.clone();
        self.position = self.at(&name, last.filter(|_| more));
        if !more {
            self.tables.remove(&name);
            records.push(Record {
                event: None,
                partition: partition.clone(),
                position: Some(self.position.clone()),
                receipt: None,
            });
        }
        Ok(Some(records))
    }

    fn at(&self, table: &str, after: Option<Vec<Mark>>) -> Position {
        Position {
            snapshot: Some(SnapshotPosition {
                table: Some(table.to_owned()),
                after,
                done: false,
            }),
            ..self.position.clone()
        }
    }

    fn event(
        &self,
        table: &str,
        keyset: &Keyset,
        cells: &[Cell],
        events: &Events,
    ) -> Result<openconnect_core::cloudevents::Event, Failure> {
        let key = key_text(&keyset.order, cells);
        let origin = Origin {
            id: format!("snapshot/{}:{}/{table}/{key}", self.position.file, self.position.begin),
            database: &self.database,
            table,
            file: &self.position.file,
            begin: self.position.begin,
            ..Origin::default()
        };
        let change = Change {
            op: "r",
            before: None,
            after: Some(cells),
        };
        events.event(&keyset.columns, &keyset.order, &change, &origin)
    }
}
