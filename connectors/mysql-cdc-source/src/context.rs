//! What does not change while a log is read.

use std::collections::HashMap;

use openconnect_core::budget::Budget;
use openconnect_core::cloudevents;
use openconnect_core::record::{Partition, Record};

use crate::config::MySqlCdcConfig;
use crate::event::Events;
use crate::headroom::Seen;
use crate::position::Position;
use crate::server::About;

/// What does not change while a log is read.
pub(crate) struct Context<'a> {
    pub(crate) config: &'a MySqlCdcConfig,
    pub(crate) database: &'a str,
    pub(crate) about: &'a About,
    pub(crate) events: &'a Events,
    pub(crate) partition: &'a Partition,
    /// MariaDB's columns of JSON, by table.
    pub(crate) json: &'a HashMap<String, Vec<String>>,
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
}
