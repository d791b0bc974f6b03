//! Feeds the worker: from the mesh, from the inbox, from the replay of dead letters.

use std::sync::Arc;

use openconnect_protocol::payload;
use tokio::sync::mpsc;

use super::ends::IntakeEnds;
use super::entry::{Arrived, Entry, Origin, Preparer, RECEIVE_BATCH, Read};
use crate::dead_letter::ReplayQueue;
use crate::failure::{Failure, FailureKind};
use crate::inbox::{Appender, Entries};
use crate::mesh::Subscriber;

/// Feeds the worker; one clone a way in. Ends at shutdown.
#[derive(Clone)]
pub(super) struct Feeder {
    pub(super) preparer: Arc<Preparer>,
    pub(super) to: mpsc::Sender<Vec<Entry>>,
    pub(super) ends: IntakeEnds,
}

impl Feeder {
    /// From the mesh, to the inbox or straight to the worker. Gives the subscriber back, which must outlive the worker for
    /// its acknowledgements.
    pub(super) async fn receive(self, mut subscriber: Subscriber, appender: Option<Appender>) -> Option<Subscriber> {
        let shutdown = self.ends.shutdown.clone();
        let mut deliveries = Vec::new();
        loop {
            let received = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                received = subscriber.recv(&mut deliveries, RECEIVE_BATCH) => received,
            };
            if let Err(failure) = received {
                self.ends.fail(failure).await;
                break;
            }
            let taken = std::mem::take(&mut deliveries);
            let handed = async {
                match &appender {
                    Some(appender) => match appender.append(taken).await {
                        Ok(()) => true,
                        Err(failure) => {
                            self.ends.fail(failure).await;
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
            while let Some(chunk) = stored.next().await {
                match chunk {
                    Ok(chunk) => {
                        let arrived = chunk
                            .into_entries()
                            .map(|(index, (read, bytes), own)| (Arrived::Read(read, bytes, Some(own)), Origin::Inbox(index)))
                            .collect();
                        if !self.preparer.hand_over(arrived, &self.to).await {
                            return;
                        }
                    }
                    Err(error) => {
                        self.ends.fail(Failure::of(FailureKind::Fatal, error)).await;
                        return;
                    }
                }
            }
        };
        self.ends.until_shutdown(work).await;
    }

    pub(super) async fn replay(self, queue: ReplayQueue) {
        let work = async {
            loop {
                let arrived = queue.next().await.into_iter().map(|(token, event)| {
                    let bytes = payload::bytes(&event).map_or(0, |data| data.len());
                    (Arrived::Read(Ok(Arc::new(event)), bytes, None), Origin::Replay(token))
                });
                if !self.preparer.hand_over(arrived.collect(), &self.to).await {
                    return;
                }
            }
        };
        self.ends.until_shutdown(work).await;
    }
}
