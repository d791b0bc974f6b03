//! Publishing: lanes of one connection each; everything unconfirmed is sent again, in order, over the next connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use openconnect_protocol::session::Purpose;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::dialer::Dialer;
use super::ended::{Ended, Reconnect, circles, lost};
use super::grpc::GrpcSession;
use super::route::Route;
use super::session::Session;
use super::url::Transport;
use super::{Capabilities, MeshStatus};
use crate::codes;
use crate::failure::Failure;

/// One event on its way.
pub(crate) struct Outgoing {
    pub(crate) id: String,
    /// Encoded for the transport: wire JSON, or the gRPC message.
    pub(crate) body: Vec<u8>,
    pub(crate) waiter: Waiter,
}

/// Who waits to learn how an event ended. Dropped, it tells that the client was closed.
pub(crate) struct Waiter(Option<Tell>);

enum Tell {
    One(oneshot::Sender<Result<(), Failure>>),
    OfMany(u64, mpsc::UnboundedSender<Told>),
}

/// How one of many events ended, by the number that it was given.
pub(crate) struct Told {
    pub(crate) number: u64,
    pub(crate) result: Result<(), Box<Refused>>,
}

/// An event that the mesh does not have, as it was encoded.
pub(crate) struct Refused {
    pub(crate) failure: Failure,
    pub(crate) body: Vec<u8>,
}

impl Waiter {
    pub(super) fn one(tell: oneshot::Sender<Result<(), Failure>>) -> Self {
        Self(Some(Tell::One(tell)))
    }

    pub(super) fn of_many(number: u64, to: mpsc::UnboundedSender<Told>) -> Self {
        Self(Some(Tell::OfMany(number, to)))
    }

    fn tell(&mut self, result: Result<(), Box<Refused>>) {
        // Whoever no longer waits need not know.
        match self.0.take() {
            Some(Tell::One(to)) => _ = to.send(result.map_err(|refused| refused.failure)),
            Some(Tell::OfMany(number, to)) => _ = to.send(Told { number, result }),
            None => {}
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.0.is_some() {
            let failure = closed();
            self.tell(Err(Box::new(Refused { failure, body: Vec::new() })));
        }
    }
}

/// What becomes of everything that was not confirmed when the client ends.
pub(super) fn closed() -> Failure {
    Failure::retryable(codes::MESH_CLOSED, "the mesh client was closed")
}

/// One connection and what is in flight on it.
pub(crate) struct Lane {
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) queue: mpsc::Receiver<Vec<Outgoing>>,
    pub(crate) window: Option<usize>,
    pub(crate) status: watch::Sender<MeshStatus>,
    pub(crate) capabilities: watch::Sender<Option<Capabilities>>,
    pub(crate) failed: watch::Sender<Option<Failure>>,
    pub(crate) ends: CancellationToken,
    /// For events that are here, in the queue or in flight: each takes one permit and gives it back at its end.
    pub(crate) room: Arc<Semaphore>,
}

/// An event that was sent and not confirmed.
pub(super) struct Sent {
    pub(super) seq: u64,
    pub(super) event: Outgoing,
    pub(super) at: Instant,
}

/// A session to publish over.
enum Dialed {
    Tcp(Box<Session>),
    Grpc(Box<GrpcSession>),
}

/// What is not confirmed: sent in this session, and to be sent.
pub(super) struct Flight {
    /// Before every `seq`: EventMesh 1.x can send an acknowledgement to another client than the one that published.
    pub(super) prefix: u32,
    pub(super) next_seq: u64,
    pub(super) sent: VecDeque<Sent>,
    pub(super) waiting: VecDeque<Outgoing>,
    /// Events that the mesh has taken.
    pub(super) confirmed: u64,
    room: Arc<Semaphore>,
}

impl Flight {
    fn new(room: Arc<Semaphore>) -> Self {
        Self {
            prefix: rand::random(),
            next_seq: 0,
            sent: VecDeque::new(),
            waiting: VecDeque::new(),
            confirmed: 0,
            room,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.waiting.is_empty()
    }

    pub(super) fn confirm(&mut self, mut event: Outgoing) {
        self.confirmed += 1;
        event.waiter.tell(Ok(()));
        self.room.add_permits(1);
    }

    /// The mesh will not have this event.
    pub(super) fn refuse(&self, event: Outgoing, failure: Failure) {
        let Outgoing { mut waiter, body, .. } = event;
        waiter.tell(Err(Box::new(Refused { failure, body })));
        self.room.add_permits(1);
    }

    /// Everything that was sent and not confirmed is to be sent again, first.
    pub(super) fn rewind(&mut self) {
        while let Some(sent) = self.sent.pop_back() {
            self.waiting.push_front(sent.event);
        }
    }
}

impl Lane {
    /// Runs until the publisher is closed; every event handed in is resolved by then, or dropped (which resolves it as
    /// failed).
    pub(crate) async fn run(mut self) {
        let mut flight = Flight::new(Arc::clone(&self.room));
        let mut reconnect = Reconnect::new(self.dialer.reconnect_max);
        let mut route = Route::default();
        loop {
            let dialed = tokio::select! {
                dialed = self.dial(&mut route) => dialed,
                () = self.ends.cancelled() => return,
            };
            let ended = match dialed {
                Ok(session) => {
                    let (began, confirmed) = (Instant::now(), flight.confirmed);
                    let ended = match session {
                        Dialed::Tcp(session) => self.tcp_session(*session, &mut flight).await,
                        Dialed::Grpc(session) => self.grpc_session(*session, &mut flight).await,
                    };
                    if !matches!(ended, Ended::Refused(_)) {
                        reconnect.after(began, flight.confirmed > confirmed);
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
                        tracing::warn!(code = %failure.code, "no session with the mesh: {}", failure.reason());
                    }
                    route.failed();
                }
                Ended::Redirected(to) if route.redirect(to.clone()) => {
                    tracing::info!("the mesh redirects to {to}");
                    continue;
                }
                Ended::Redirected(to) => {
                    let failure = circles(&to);
                    tracing::warn!(code = %failure.code, "{}", failure.reason());
                    self.status.send_replace(lost(&failure));
                    route.failed();
                }
                Ended::Refused(reason) => {
                    if self.status.send_replace(MeshStatus::Refusing { reason: reason.clone() }) == MeshStatus::Connected {
                        tracing::warn!(code = %codes::MESH_BUSY, "the mesh refuses events for now: {reason}");
                    }
                }
            }
            tokio::select! {
                () = reconnect.wait() => {}
                () = self.ends.cancelled() => return,
            }
        }
    }

    async fn dial(&self, route: &mut Route) -> Result<Dialed, Failure> {
        Ok(match self.dialer.transport() {
            Transport::Tcp => Dialed::Tcp(Box::new(self.dialer.dial(route, Purpose::Pub).await?)),
            Transport::Grpc => Dialed::Grpc(Box::new(self.dialer.dial_grpc(route).await?)),
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
async fn refuse_all(queue: &mut mpsc::Receiver<Vec<Outgoing>>, mut flight: Flight, failure: &Failure) {
    flight.rewind();
    loop {
        for event in std::mem::take(&mut flight.waiting) {
            flight.refuse(event, failure.clone());
        }
        let Some(more) = queue.recv().await else { return };
        flight.waiting.extend(more);
    }
}
