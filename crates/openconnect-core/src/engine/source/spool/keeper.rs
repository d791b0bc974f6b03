//! The keeper of the spool: frees what has its outcome, tells the worker what stops it, and shows the state.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::FirstSession;
use super::intake::SpoolNews;
use crate::admin::{SpoolStatus, StatusHandle};
use crate::engine::source::accepting::mesh_trouble;
use crate::engine::source::resolver::{self, Progress};
use crate::error::Result;
use crate::failure::{Failure, FailureKind};
use crate::inbox::Inbox;
use crate::mesh::Publisher;
use crate::record::NoPosition;

/// How often the checkpoint is written and the status refreshed.
const TICK: Duration = Duration::from_millis(100);

pub(super) struct Keeper<P> {
    pub(super) inbox: Inbox,
    pub(super) news: mpsc::UnboundedReceiver<SpoolNews>,
    /// What is handed over and has no outcome, and since when it is in the spool.
    pub(super) handed_over: BTreeMap<u64, u64>,
    /// Closed when the resolver has ended; before that it tells only what stops the connector.
    pub(super) published: mpsc::Receiver<Progress<NoPosition>>,
    pub(super) session: Option<FirstSession>,
    pub(super) publisher: Publisher,
    pub(super) progress: mpsc::Sender<Progress<P>>,
    pub(super) trouble: watch::Sender<Option<String>>,
    pub(super) status: StatusHandle,
    pub(super) stop: CancellationToken,
    pub(super) has_intake_ended: bool,
}

/// Why the spool takes nothing now.
pub(super) fn trouble(inbox: &Inbox) -> Option<String> {
    let (size, limit) = inbox.size();
    let full = || format!("the spool is full: it has {size} bytes, state.inbox_max is {limit}");
    inbox.problem().or_else(|| (size >= limit).then(full))
}

impl<P> Keeper<P> {
    /// Runs until the intake has ended and every event has its outcome, until something fails, or until it is stopped. Gives the
    /// number of events that are left; they are published after the next start.
    pub(super) async fn run(mut self) -> u64 {
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            ended = self.follow() => if let Err(failure) = ended {
                self.status.error(failure.code, failure.reason());
                let _ = self.progress.send(Progress::Stop(failure)).await;
            },
        }
        self.close().await
    }

    async fn follow(&mut self) -> Result<(), Failure> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !(self.has_intake_ended && self.inbox.backlog() == 0) {
            tokio::select! {
                Some(news) = self.news.recv() => self.take(news)?,
                progress = self.published.recv() => return Err(match progress {
                    Some(Progress::Stop(failure)) => failure,
                    Some(Progress::Reached(_, none)) => match none {},
                    None => resolver::ended_abnormally(),
                }),
                session = first(&mut self.session) => {
                    self.session = None;
                    session.map_err(|e| Failure::of(FailureKind::Fatal, e))?;
                    self.status.set_server(self.publisher.capabilities());
                }
                _ = tick.tick() => {
                    self.inbox.checkpoint().await;
                    self.show();
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, news: SpoolNews) -> Result<(), Failure> {
        match news {
            SpoolNews::HandedOver { sequence, arrived_ms } => {
                self.handed_over.insert(sequence, arrived_ms);
            }
            SpoolNews::Resolved(sequence) => {
                self.handed_over.remove(&sequence);
                self.inbox.resolve(sequence);
            }
            SpoolNews::IntakeEnded => self.has_intake_ended = true,
            SpoolNews::Failed(failure) => return Err(failure),
        }
        Ok(())
    }

    fn show(&self) {
        let (bytes, limit) = self.inbox.size();
        self.status.set_spool(SpoolStatus {
            events: self.inbox.backlog(),
            bytes,
            limit,
            oldest_ms: self.handed_over.values().next().copied(),
            waits_for: mesh_trouble(&self.publisher.status().borrow()),
        });
        let trouble = trouble(&self.inbox);
        self.trouble.send_if_modified(|known| {
            let is_new = *known != trouble;
            *known = trouble;
            is_new
        });
    }

    async fn close(mut self) -> u64 {
        while let Ok(news) = self.news.try_recv() {
            // What stops the connector has been told, or comes too late.
            let _ = self.take(news);
        }
        self.show();
        let left = self.inbox.backlog();
        self.inbox.close().await;
        left
    }
}

/// Never ends when there is nothing to wait for. Cancel-safe.
async fn first(session: &mut Option<FirstSession>) -> Result<()> {
    match session {
        Some(session) => session.await,
        None => std::future::pending().await,
    }
}
