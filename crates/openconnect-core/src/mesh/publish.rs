//! Publishing: lanes of one connection each; everything unconfirmed is sent again, in order, over the next connection.

use std::collections::VecDeque;
use std::sync::Arc;

use openconnect_protocol::session::Purpose;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::publish_tcp::Sent;
use super::session::{Backoff, Dialed, Dialer, lost};
use super::url::Transport;
use super::{Capabilities, MeshStatus};
use crate::failure::Failure;

/// One event on its way.
pub(crate) struct Outgoing {
    pub(crate) id: String,
    /// Encoded for the transport: wire JSON, or the gRPC message.
    pub(crate) body: Vec<u8>,
    pub(crate) done: oneshot::Sender<Result<(), Failure>>,
    pub(crate) _room: OwnedSemaphorePermit,
}

/// One connection and what is in flight on it.
pub(crate) struct Lane {
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) queue: mpsc::Receiver<Outgoing>,
    pub(crate) window: Option<usize>,
    pub(crate) status: watch::Sender<MeshStatus>,
    pub(crate) capabilities: watch::Sender<Option<Capabilities>>,
    pub(crate) failed: watch::Sender<Option<Failure>>,
    pub(crate) ends: CancellationToken,
}

/// What is not confirmed: sent in this session, and to be sent.
#[derive(Default)]
pub(super) struct Flight {
    pub(super) next_seq: u64,
    pub(super) sent: VecDeque<Sent>,
    pub(super) waiting: VecDeque<Outgoing>,
}

impl Flight {
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.waiting.is_empty()
    }

    /// Everything that was sent and not confirmed is to be sent again, first.
    pub(super) fn rewind(&mut self) {
        while let Some(sent) = self.sent.pop_back() {
            self.waiting.push_front(sent.event);
        }
    }
}

/// Why a session ended.
pub(super) enum Ended {
    /// The publisher was closed and everything is confirmed, or the connector is going down.
    Closed,
    /// To be set up again, with this reason.
    Broken(Failure),
    /// The server refuses for now.
    Refused(String),
}

impl Lane {
    /// Runs until the publisher is closed; every event handed in is resolved by then, or dropped (which resolves it as
    /// failed).
    pub(crate) async fn run(mut self) {
        let mut flight = Flight::default();
        let mut backoff = Backoff::new(self.dialer.reconnect_max);
        let mut server = 0;
        loop {
            let dialed = tokio::select! {
                dialed = self.dial(server) => dialed,
                () = self.ends.cancelled() => return,
            };
            let ended = match dialed {
                Ok((session, at)) => {
                    server = at;
                    let ended = match session {
                        Dialed::Tcp(session) => self.tcp_session(*session, &mut flight).await,
                        Dialed::Grpc(session) => self.grpc_session(*session, &mut flight).await,
                    };
                    if !matches!(ended, Ended::Refused(_)) {
                        backoff.reset();
                    }
                    ended
                }
                Err(failure) => Ended::Broken(failure),
            };
            flight.rewind();
            match ended {
                Ended::Closed => return,
                Ended::Broken(failure) if !failure.is_retryable() => {
                    self.status.send_replace(lost(&failure));
                    self.failed.send_replace(Some(failure.clone()));
                    return refuse_all(&mut self.queue, flight, &failure).await;
                }
                Ended::Broken(failure) => {
                    if self.status.send_replace(lost(&failure)) != lost(&failure) {
                        tracing::warn!(code = %failure.code, "no session with the mesh: {}", failure.message);
                    }
                    server += 1;
                }
                Ended::Refused(reason) => {
                    if self.status.send_replace(MeshStatus::Refusing { reason: reason.clone() }) == MeshStatus::Connected {
                        tracing::warn!(code = "OC0307", "the mesh refuses events for now: {reason}");
                    }
                }
            }
            tokio::select! {
                () = backoff.wait() => {}
                () = self.ends.cancelled() => return,
            }
        }
    }

    async fn dial(&self, server: usize) -> Result<(Dialed, usize), Failure> {
        Ok(match self.dialer.transport() {
            Transport::Tcp => {
                let (session, at) = self.dialer.dial(server, Purpose::Pub).await?;
                (Dialed::Tcp(Box::new(session)), at)
            }
            Transport::Grpc => {
                let (session, at) = self.dialer.dial_grpc(server).await?;
                (Dialed::Grpc(Box::new(session)), at)
            }
        })
    }

    /// Announces a session. A server that refused last time is believed again only when it has taken something.
    pub(super) fn announce(&self, capabilities: &Capabilities, flight: &Flight) {
        self.capabilities.send_replace(Some(capabilities.clone()));
        if !matches!(&*self.status.borrow(), MeshStatus::Refusing { .. }) || flight.is_empty() {
            self.status.send_replace(MeshStatus::Connected);
        }
    }

    /// The server takes what is sent.
    pub(super) fn believed(&self) {
        if *self.status.borrow() != MeshStatus::Connected {
            self.status.send_replace(MeshStatus::Connected);
        }
    }
}

/// Resolves everything, now and later, with a failure that nothing mends.
async fn refuse_all(queue: &mut mpsc::Receiver<Outgoing>, mut flight: Flight, failure: &Failure) {
    flight.rewind();
    for event in flight.waiting {
        let _ = event.done.send(Err(failure.clone()));
    }
    while let Some(event) = queue.recv().await {
        let _ = event.done.send(Err(failure.clone()));
    }
}
