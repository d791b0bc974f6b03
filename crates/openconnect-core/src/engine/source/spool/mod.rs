//! A source's spool (`accept: spool`): an event is safe once it is in the inbox on disk. Its receipt is resolved then; from there
//! it is published as every other event is, and its entry is freed with its outcome.
//!
//! | file | what is in it |
//! |---|---|
//! | `intake.rs` | appends what the source emits, and tells who waits |
//! | `feed.rs` | hands the entries to the publishing task, in order |
//! | `keeper.rs` | frees what has its outcome, and shows how full the spool is |
//!
//! A crash after the mesh has an event, and before its entry is freed, publishes it once more with the same id. None is left out.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use cloudevents::Event;
use openconnect_protocol::json;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::accepting::Accepting;
use super::lease;
use super::outbound::{Outbound, OutboundTasks};
use super::resolver::Progress;
use crate::admin::StatusHandle;
use crate::budget::{Budget, attributes_overhead, with_overhead};
use crate::codes;
use crate::config::Settings;
use crate::error::{Exit, Result};
use crate::failure::Failure;
use crate::inbox::{Entries, Inbox, InboxEntry, InboxOptions};
use crate::record::{NoPosition, Partition};
use crate::source::EMIT_QUEUE;

mod feed;
mod intake;
mod keeper;

use feed::Feed;
use intake::News;
pub(super) use intake::SpoolIntake;
use keeper::Keeper;

/// How long the keeper may take to end once it is told.
const CLOSE: Duration = Duration::from_secs(10);

/// An event out of the spool, or its bytes and why they are none.
struct Spooled {
    event: Result<Event, (Bytes, Failure)>,
    arrived_ms: u64,
}

/// Waits for the first session with the mesh, or for what no wait mends.
pub(super) type FirstSession = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// An open spool.
pub(super) struct Spool {
    inbox: Inbox,
    entries: Entries<Spooled>,
    trouble: watch::Sender<Option<String>>,
}

/// The tasks of a spool. They are aborted when this is dropped.
pub(super) struct SpoolTasks {
    outbound: OutboundTasks,
    feeding: AbortOnDropHandle<()>,
    keeping: AbortOnDropHandle<u64>,
    stop: CancellationToken,
}

impl Spool {
    /// Opens or makes the spool in the instance's folder. What is published out of it takes of `budget`, which what comes from the
    /// source does not: that must go on while the mesh takes nothing.
    pub(super) fn open(state: &Path, settings: &Settings, budget: Budget, status: &StatusHandle) -> Result<Self> {
        let options = InboxOptions {
            max_bytes: settings.state.inbox_max.0,
            timed: true,
            ..InboxOptions::default()
        };
        let (inbox, entries) = Inbox::open(state, &options, budget, decode)?;
        status.set_backlog(inbox.backlog());
        let (trouble, _) = watch::channel(keeper::trouble(&inbox));
        Ok(Self { inbox, entries, trouble })
    }

    /// Is there one that an earlier run may have left events in?
    pub(super) fn exists(state: &Path) -> bool {
        state.join("inbox").exists()
    }

    /// Whether it takes events.
    pub(super) fn accepting(&self) -> Accepting {
        Accepting::Spool(self.trouble.subscribe())
    }

    /// Starts to publish what is in it, and what the intake appends. `progress` is told what stops the connector, and is closed
    /// when the intake has ended and everything has its outcome.
    pub(super) fn start<P: Send + 'static>(
        self,
        outbound: Outbound,
        lease: lease::Watch,
        session: FirstSession,
        progress: mpsc::Sender<Progress<P>>,
    ) -> (SpoolTasks, SpoolIntake) {
        #[allow(
            clippy::disallowed_methods,
            reason = "bounded by the entries in flight, each of which has one outcome, and by the syncs of the disk"
        )]
        let (news, told) = mpsc::unbounded_channel();
        let (records, queue) = mpsc::channel(EMIT_QUEUE);
        let (failures, published) = mpsc::channel::<Progress<NoPosition>>(1);
        let intake = SpoolIntake::new(self.inbox.appender(), News(news.clone()));
        let feed = Feed {
            entries: self.entries,
            to: records,
            news: News(news),
            dead_letters: std::sync::Arc::clone(&outbound.dead_letters),
            retry: outbound.retry,
            status: outbound.status.clone(),
            partition: Partition::new("spool"),
        };
        let stop = CancellationToken::new();
        let keeper = Keeper {
            inbox: self.inbox,
            news: told,
            handed_over: BTreeMap::new(),
            published,
            session: Some(session),
            publisher: outbound.publisher.clone(),
            progress,
            trouble: self.trouble,
            status: outbound.status.clone(),
            stop: stop.clone(),
            has_intake_ended: false,
        };
        let tasks = SpoolTasks {
            outbound: outbound.start(lease, queue, failures),
            feeding: AbortOnDropHandle::new(tokio::spawn(feed.run())),
            keeping: AbortOnDropHandle::new(tokio::spawn(keeper.run())),
            stop,
        };
        (tasks, intake)
    }

    /// Publishes what an earlier run has left, for a source that spools no more. Ends when the spool is empty, at shutdown, or with
    /// what stops the connector.
    pub(super) async fn publish_left(
        self,
        outbound: Outbound,
        lease: lease::Watch,
        shutdown: &CancellationToken,
        deadline: Duration,
    ) -> Result<Exit, Failure> {
        let left = self.inbox.backlog();
        if left == 0 {
            self.inbox.close().await;
            return Ok(Exit::Clean);
        }
        tracing::info!(
            events = left,
            "publishing what an earlier run left in the spool; no new events are taken before"
        );
        let (progress, mut ends) = mpsc::channel::<Progress<NoPosition>>(1);
        let session: FirstSession = Box::pin(async { Ok(()) });
        let (tasks, intake) = self.start(outbound, lease, session, progress);
        drop(intake);
        let end = tokio::select! {
            end = ends.recv() => end,
            () = shutdown.cancelled() => timeout_at(tokio::time::Instant::now() + deadline, ends.recv()).await.unwrap_or(None),
        };
        let (left, _) = tasks.close().await;
        match end {
            Some(Progress::Stop(failure)) => Err(failure),
            _ if left > 0 => Ok(undelivered(left)),
            _ => {
                tracing::info!("the spool is empty");
                Ok(Exit::Clean)
            }
        }
    }
}

/// Says what stays in the spool, and how the connector ends.
pub(super) fn undelivered(events: u64) -> Exit {
    tracing::warn!(
        events,
        "stopped with events in the spool; they are kept and published after the next start"
    );
    Exit::Undelivered
}

impl SpoolTasks {
    /// Ends the tasks, whatever is left. Gives the number of events that stay in the spool, and false when a task had ended
    /// abnormally. The intake must have ended.
    pub(super) async fn close(self) -> (u64, bool) {
        self.feeding.abort();
        let fine = self.outbound.stop().await;
        self.stop.cancel();
        match tokio::time::timeout(CLOSE, self.keeping).await {
            Ok(Ok(left)) => (left, fine),
            Ok(Err(_)) | Err(_) => (0, false),
        }
    }
}

fn decode(entry: &InboxEntry<'_>) -> (Spooled, usize) {
    let raw = entry.stored.raw;
    let event = json::decode(raw).map_err(|e| {
        let failure = Failure::permanent(codes::EVENT_UNREADABLE, "an event in the spool can't be read").because(e);
        (Bytes::copy_from_slice(raw), failure)
    });
    let memory = with_overhead(raw.len()) + event.as_ref().map_or(0, attributes_overhead);
    let arrived_ms = entry.arrived_ms;
    (Spooled { event, arrived_ms }, memory)
}
