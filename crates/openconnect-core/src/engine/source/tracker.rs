//! How far each partition has come: from the resolver to the offset store, and from there to the committer. Beside it, what the
//! status says of mesh, lease and source.

use std::sync::Arc;
use std::time::Duration;

use openconnect_fault::{Failpoint, reach};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::accepting::Accepting;
use super::committing::Positions;
use super::lease::{self, Lease};
use super::resolver::{self, Progress};
use crate::admin::{State, StatusHandle};
use crate::codes;
use crate::error::{Error, Exit, Result};
use crate::failure::Failure;
use crate::offsets::OffsetStore;
use crate::record::Position;

/// Between two attempts to store the last positions.
const SAVE_RETRY: Duration = Duration::from_millis(500);

/// What the worker must turn to.
pub(super) enum Turn {
    /// Positions wait to be stored or committed, and it is time.
    Save,
    Stop(Failure),
}

/// Follows the outcomes, and stores the positions that they allow.
pub(super) struct PositionTracker<P> {
    pub(super) reached: mpsc::Receiver<Progress<P>>,
    /// Not yet stored.
    pub(super) unsaved: Positions<P>,
    /// Stored, and not yet with the committer: it is still busy with those before.
    pub(super) uncommitted: Positions<P>,
    pub(super) committer: mpsc::Sender<Positions<P>>,
    pub(super) flush: tokio::time::Interval,
    pub(super) offsets: Arc<dyn OffsetStore>,
    pub(super) lease: Lease,
    pub(super) lease_watch: lease::Watch,
    pub(super) accepting: Accepting,
    /// Why the source gives no events.
    pub(super) source_trouble: watch::Receiver<Option<String>>,
    /// Why events of the input are not answered.
    pub(super) input_trouble: watch::Receiver<Option<String>>,
    /// Why the last positions could not be stored.
    pub(super) store_trouble: Option<String>,
    pub(super) status: StatusHandle,
}

impl<P: Position> PositionTracker<P> {
    /// Follows until there is something to do. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Turn {
        loop {
            self.show();
            let due = !(self.unsaved.is_empty() && self.uncommitted.is_empty());
            tokio::select! {
                progress = self.reached.recv() => match progress {
                    Some(Progress::Reached(partition, position)) => { self.unsaved.insert(partition, position); }
                    Some(Progress::Stop(failure)) => return Turn::Stop(failure),
                    None => return Turn::Stop(resolver::ended_abnormally()),
                },
                _ = self.flush.tick(), if due => return Turn::Save,
                true = self.accepting.changed() => {}
                Ok(()) = self.source_trouble.changed() => {}
                Ok(()) = self.input_trouble.changed() => {}
                mine = self.lease_watch.changed() => if !mine {
                    return Turn::Stop(Failure::fatal(codes::LEASE_TAKEN, "another process has taken over the lease"));
                },
            }
        }
    }

    fn show(&mut self) {
        let blocked = self.accepting.trouble();
        let source = self.source_trouble.borrow_and_update().clone();
        let input = self.input_trouble.borrow_and_update().clone();
        let blocked = blocked
            .or_else(|| self.lease_watch.trouble())
            .or_else(|| self.store_trouble.clone())
            .or_else(|| source.map(|reason| format!("the source gives no events: {reason}")))
            .or(input);
        self.status.set_state(blocked.map_or(State::Running, State::Blocked));
    }

    /// Waits until the resolver has told all outcomes; false when the deadline came first or something failed.
    pub(super) async fn drain(&mut self, deadline: Instant) -> bool {
        let outcomes = async {
            while let Some(progress) = self.reached.recv().await {
                match progress {
                    Progress::Reached(partition, position) => {
                        self.unsaved.insert(partition, position);
                    }
                    Progress::Stop(_) => return false,
                }
            }
            true
        };
        tokio::time::timeout_at(deadline, outcomes).await.unwrap_or(false)
    }

    /// Stores positions, then hands them to the committer, or keeps them for it while it is busy.
    pub(super) async fn save(&mut self) -> Result<()> {
        match self.store().await {
            Ok(()) => {
                self.store_trouble = None;
                self.uncommitted.append(&mut self.unsaved);
            }
            // A database that is down: the source goes on while its lease lasts, and the positions are stored later.
            Err(e) if self.offsets.is_shared() && e.exit == Exit::Unavailable => {
                tracing::warn!(code = %e.code, "{}", e.reason());
                self.status.error(e.code, e.reason());
                self.store_trouble = Some(e.reason());
            }
            Err(e) => return Err(e),
        }
        if !self.uncommitted.is_empty()
            && let Ok(free) = self.committer.try_reserve()
        {
            free.send(std::mem::take(&mut self.uncommitted));
        }
        Ok(())
    }

    /// Stores what is left, trying again until `deadline`.
    pub(super) async fn save_last(&mut self, deadline: Instant) -> Result<()> {
        loop {
            self.save().await?;
            match self.store_trouble.take() {
                None => return Ok(()),
                Some(reason) if Instant::now() > deadline => return Err(Error::undelivered(codes::OFFSETS_DATABASE, reason)),
                Some(_) => tokio::time::sleep(SAVE_RETRY).await,
            }
        }
    }

    /// Stores positions; they are durable when it returns.
    async fn store(&mut self) -> Result<()> {
        if self.unsaved.is_empty() {
            return Ok(());
        }
        let mut rows: Vec<(String, serde_json::Value)> = Vec::with_capacity(self.unsaved.len());
        for (partition, position) in &self.unsaved {
            let json = serde_json::to_value(position)
                .map_err(|e| Error::undelivered(codes::POSITION_UNSTORABLE, "a position can't be stored; this is a bug").because(e))?;
            rows.push((partition.as_str().to_owned(), json));
        }
        reach(Failpoint::BeforeOffset);
        let stored = self.offsets.commit(&rows, self.lease.fence()).await?;
        reach(Failpoint::BeforeCommit);
        if !stored {
            return Err(self.lease.taken());
        }
        for (partition, json) in rows {
            self.status.set_position(&partition, json);
        }
        Ok(())
    }
}
