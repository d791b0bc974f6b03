//! Feeds the worker: from the mesh, from the inbox, from the replay of dead letters.

use std::sync::Arc;
use std::time::Duration;

use openconnect_protocol::payload;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::intake::{Arrived, Entry, Origin, Preparer, RECEIVE_BATCH, Read};
use crate::dead_letter::ReplayQueue;
use crate::failure::Failure;
use crate::inbox::{Appender, Entries};
use crate::mesh::Subscriber;

/// How often the replay file is looked at.
const REPLAY_INTERVAL: Duration = Duration::from_millis(500);

/// Feeds the worker; one clone a way in. Ends at shutdown.
#[derive(Clone)]
pub(super) struct Feeder {
    pub(super) preparer: Arc<Preparer>,
    pub(super) to: mpsc::Sender<Vec<Entry>>,
    pub(super) fatal: mpsc::Sender<Failure>,
    pub(super) shutdown: CancellationToken,
}

/// A feeder that panics must not leave a connector that looks alive: the worker is told.
impl Drop for Feeder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.fatal.try_send(Failure::fatal(
                "OC0490",
                "a task that takes events in ended abnormally; this is a bug",
            ));
        }
    }
}

impl Feeder {
    /// From the mesh, to the inbox or straight to the worker. Gives the subscriber back, which must outlive the worker for
    /// its acknowledgements.
    pub(super) async fn receive(self, mut subscriber: Subscriber, appender: Option<Appender>) -> Option<Subscriber> {
        let shutdown = self.shutdown.clone();
        let mut deliveries = Vec::new();
        loop {
            let received = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                received = subscriber.recv(&mut deliveries, RECEIVE_BATCH) => received,
            };
            if let Err(failure) = received {
                let _ = self.fatal.send(failure).await;
                break;
            }
            let taken = std::mem::take(&mut deliveries);
            let handed = async {
                match &appender {
                    Some(appender) => match appender.append(taken).await {
                        Ok(()) => true,
                        Err(failure) => {
                            let _ = self.fatal.send(failure).await;
                            false
                        }
                    },
                    None => self.preparer.hand_over(taken.into_iter().map(Into::into).collect(), &self.to).await,
                }
            };
            let open = tokio::select! {
                open = handed => open,
                () = shutdown.cancelled() => break,
            };
            if !open {
                break;
            }
        }
        subscriber.stop().await;
        Some(subscriber)
    }

    pub(super) async fn read(self, mut stored: Entries<(Read, usize)>) {
        let work = async {
            loop {
                match stored.next().await {
                    Ok(chunk) => {
                        let arrived = chunk
                            .into_iter()
                            .map(|(index, (read, bytes))| (Arrived::Read(read, bytes), Origin::Inbox(index)))
                            .collect();
                        if !self.preparer.hand_over(arrived, &self.to).await {
                            return;
                        }
                    }
                    Err(error) => {
                        let _ = self.fatal.send(Failure::fatal(error.code, error.message)).await;
                        return;
                    }
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    pub(super) async fn replay(self, queue: ReplayQueue) {
        let work = async {
            loop {
                match queue.poll() {
                    Ok(events) if events.is_empty() => tokio::time::sleep(REPLAY_INTERVAL).await,
                    Ok(events) => {
                        let arrived = events
                            .into_iter()
                            .map(|(token, event)| {
                                let bytes = payload::bytes(&event).map_or(0, |data| data.len());
                                (Arrived::Read(Ok(Arc::new(event)), bytes), Origin::Replay(token))
                            })
                            .collect();
                        if !self.preparer.hand_over(arrived, &self.to).await {
                            return;
                        }
                    }
                    Err(failure) => {
                        tracing::error!(code = %failure.code, "dead letters can't be replayed: {}", failure.message);
                        tokio::time::sleep(REPLAY_INTERVAL * 10).await;
                    }
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = self.shutdown.cancelled() => {}
        }
    }
}
