//! The intake: how events come in from a topic of the mesh, for a sink and for a source that has a topic as its input.
//!
//! | file | what is in it |
//! |---|---|
//! | `mod.rs` | [`Intake`]: its tasks, its inbox, its replays |
//! | `feeder.rs` | the tasks: from the mesh, from the inbox, from the replay of dead letters |
//! | `entry.rs` | an event on its way in: decoded, transformed, keyed and budgeted |
//! | `ends.rs` | how the tasks end |

use std::hash::RandomState;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::budget::{Budget, EventLimit};
use crate::config::Acknowledge;
use crate::dead_letter::ReplayQueue;
use crate::error::Result;
use crate::failure::Failure;
use crate::inbox::{Entries, Inbox, InboxEntry, InboxOptions};
use crate::mesh::Subscriber;
use crate::transform::Transforms;
use feeder::Feeder;

mod ends;
mod entry;
mod feeder;

pub(crate) use ends::IntakeEnds;
pub(crate) use entry::{Decoder, Entry, Origin, RECEIVE_BATCH, Read, memory};

use entry::Preparer;

/// Batches of entries between the intake and the worker.
const INTAKE_QUEUE: usize = 8;

/// What an intake is made of.
pub(crate) struct IntakeParts<'a> {
    /// The folder that has `inbox/` and `replay/`.
    pub(crate) folder: &'a Path,
    /// `state.inbox_max`.
    pub(crate) inbox_max: u64,
    /// `auto` is resolved.
    pub(crate) acknowledge: Acknowledge,
    /// None: nothing new is taken, and the intake ends with what the inbox holds.
    pub(crate) subscriber: Option<Subscriber>,
    pub(crate) transforms: Transforms,
    pub(crate) limit: EventLimit,
    pub(crate) budget: Budget,
    /// Ends the intake.
    pub(crate) shutdown: CancellationToken,
}

/// A running intake.
pub(crate) struct Intake {
    /// What has come in. It ends with the tasks.
    pub(crate) entries: mpsc::Receiver<Vec<Entry>>,
    /// Why the intake can't go on.
    pub(crate) failures: mpsc::Receiver<Failure>,
    pub(crate) inbox: Option<Inbox>,
    pub(crate) replay: ReplayQueue,
    pub(crate) tasks: IntakeTasks,
}

/// The tasks of an intake. They are aborted when this is dropped.
pub(crate) struct IntakeTasks {
    reading: Option<AbortOnDropHandle<()>>,
    replaying: Option<AbortOnDropHandle<()>>,
    receiving: Option<AbortOnDropHandle<Option<Subscriber>>>,
}

impl Intake {
    /// Opens the inbox, and starts to take events in.
    pub(crate) fn start(parts: IntakeParts<'_>) -> Result<Self> {
        let decoder = Decoder { limit: parts.limit };
        let takes = parts.subscriber.is_some();
        let (inbox, stored) = open_inbox(&parts, decoder)?.unzip();
        let replay = ReplayQueue::open(parts.folder)?;
        let (to, entries) = mpsc::channel(INTAKE_QUEUE);
        let (fatal, failures) = mpsc::channel(2);
        let feeder = Feeder {
            preparer: Arc::new(Preparer {
                transforms: parts.transforms,
                budget: parts.budget,
                decoder,
                hasher: RandomState::new(),
            }),
            to,
            ends: IntakeEnds {
                fatal,
                shutdown: parts.shutdown,
            },
        };
        let reading = stored.map(|stored| AbortOnDropHandle::new(tokio::spawn(feeder.clone().read(stored))));
        let receiving = parts.subscriber.map(|subscriber| {
            let appender = inbox.as_ref().filter(|_| parts.acknowledge == Acknowledge::Inbox);
            let appender = appender.map(Inbox::appender);
            AbortOnDropHandle::new(tokio::spawn(feeder.clone().receive(subscriber, appender)))
        });
        let replaying = takes.then(|| AbortOnDropHandle::new(tokio::spawn(feeder.replay(replay.clone()))));
        Ok(Self {
            entries,
            failures,
            inbox,
            replay,
            tasks: IntakeTasks {
                reading,
                replaying,
                receiving,
            },
        })
    }
}

impl IntakeTasks {
    /// Ends the tasks, once the worker has ended and the intake is shut down. The subscriber flushes the acknowledgements and says
    /// goodbye; bounded by its request timeout.
    pub(crate) async fn close(self) {
        drop((self.reading, self.replaying));
        if let Some(receiving) = self.receiving
            && let Ok(Some(subscriber)) = receiving.await
        {
            subscriber.close().await;
        }
    }
}

/// The inbox, and what comes out of it: an entry as it was read, and its bytes.
type OpenInbox = (Inbox, Entries<(Read, usize)>);

/// Opens the inbox, also when only an earlier run used it: what it left there is delivered, however this run acknowledges.
fn open_inbox(parts: &IntakeParts<'_>, decoder: Decoder) -> Result<Option<OpenInbox>> {
    if parts.acknowledge == Acknowledge::Write && !parts.folder.join("inbox").exists() {
        return Ok(None);
    }
    let options = InboxOptions {
        max_bytes: parts.inbox_max,
        drain: parts.subscriber.is_none(),
        ..InboxOptions::default()
    };
    let decode = move |entry: &InboxEntry<'_>| {
        let (read, bytes) = (decoder.read(&entry.stored), entry.stored.raw.len());
        let memory = memory(&read, bytes);
        ((read, bytes), memory)
    };
    Inbox::open(parts.folder, &options, parts.budget.clone(), decode).map(Some)
}
