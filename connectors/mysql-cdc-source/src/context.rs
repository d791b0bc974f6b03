//! What does not change while a log is read.

use openconnect_core::budget::Budget;
use openconnect_core::cloudevents;
use openconnect_core::record::{Partition, Record};

use crate::catalog::Catalog;
use crate::config::MySqlCdcConfig;
use crate::event::Events;
use crate::headroom::Seen;
use crate::position::Position;
use crate::server::About;
use crate::statement::RowsStatement;

/// What does not change while a log is read.
pub(crate) struct Context<'a> {
    pub(crate) config: &'a MySqlCdcConfig,
    pub(crate) about: &'a About,
    pub(crate) catalog: &'a Catalog,
    pub(crate) events: &'a Events,
    pub(crate) partition: &'a Partition,
    pub(crate) seen: &'a Seen,
    pub(crate) budget: &'a Budget,
}

impl Context<'_> {
    pub(crate) fn record(&self, event: cloudevents::Event, position: Position) -> Record<Position> {
        Record::event(self.partition.clone(), event).with_position(position)
    }

    /// The position moves, and no event goes with it.
    pub(crate) fn progress(&self, position: Position) -> Record<Position> {
        Record::progress(self.partition.clone(), position)
    }

    /// Is a table of the database read?
    pub(crate) fn wants(&self, table: &str) -> bool {
        self.config.wants(table, self.about.ignores_case)
    }

    /// Which tables that are read a statement may change, in words; none when it changes none of them. `database` is that of its session.
    pub(crate) fn concerns(&self, statement: &RowsStatement, database: &str) -> Option<String> {
        if let Some((of, table)) = &statement.table {
            let is_read = self.about.is_database(of.as_deref().unwrap_or(database)) && self.wants(table);
            return is_read.then(|| format!("`{table}`"));
        }
        // A function may change any table.
        let may = matches!(statement.verb.as_str(), "SELECT" | "CALL" | "DO")
            || self.about.is_database(database)
            || statement.names.iter().any(|name| self.about.is_database(name));
        may.then(|| "tables that it does not name alone".to_owned())
    }
}
