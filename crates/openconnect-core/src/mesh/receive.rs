//! Receiving: the task behind a subscriber, with what both transports share: acknowledgements, the bounded buffer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use openconnect_protocol::grpc::pb;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::dialer::Dialer;
use super::ended::{Ended, Reconnect, circles, lost};
use super::grpc::GrpcSession;
use super::route::Route;
use super::session::Session;
use super::url::Transport;
use super::{Capabilities, MeshStatus};
use crate::budget::{Budget, Reservation};
use crate::codes;
use crate::failure::Failure;

/// Acknowledgements that wait to be written.
#[derive(Default)]
pub(crate) struct Acks {
    queued: Mutex<Vec<QueuedAck>>,
    pub(super) notify: Notify,
}

/// What the server wants to be told.
pub(super) struct QueuedAck {
    /// The session that the delivery came over.
    pub(super) session: u64,
    pub(super) seq: Box<str>,
    /// The command that acknowledges it over TCP.
    pub(super) reply: &'static str,
}

impl Acks {
    pub(super) fn take(&self) -> Vec<QueuedAck> {
        std::mem::take(&mut *self.queued.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The acknowledgement of one delivery.
pub(crate) struct Acknowledgement {
    pub(super) acks: Arc<Acks>,
    pub(super) ack: QueuedAck,
}

impl Acknowledgement {
    pub(crate) fn ack(self) {
        self.acks.queued.lock().unwrap_or_else(PoisonError::into_inner).push(self.ack);
        self.acks.notify.notify_one();
    }
}

/// What the subscriber's task sends: the delivery and its part of the memory.
pub(crate) struct Received {
    pub(crate) raw: Bytes,
    pub(crate) unreadable: Option<String>,
    pub(crate) ack: Acknowledgement,
    /// None until it has its place.
    pub(crate) reservation: Option<Reservation>,
}

/// What the owner asks of the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Receive,
    /// No more deliveries; acknowledgements still go out.
    Stop,
    /// Flush acknowledgements and leave.
    Close,
}

/// The task behind a subscriber.
pub(crate) struct Receiving {
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) topic: String,
    pub(crate) to: mpsc::Sender<Received>,
    /// For what was received and has not gone on.
    pub(crate) budget: Budget,
    pub(crate) wish: watch::Receiver<Wish>,
    pub(crate) status: watch::Sender<MeshStatus>,
    pub(crate) capabilities: watch::Sender<Option<Capabilities>>,
    pub(crate) failed: watch::Sender<Option<Failure>>,
    pub(crate) ends: CancellationToken,
    pub(crate) acks: Arc<Acks>,
    /// Deliveries so far.
    pub(crate) count: u64,
}

/// A stream whose subscription the server has confirmed.
pub(super) struct Subscription {
    pub(super) session: GrpcSession,
    pub(super) to_server: mpsc::Sender<pb::CloudEvent>,
    pub(super) from_server: Streaming<pb::CloudEvent>,
    /// Came before the answer.
    pub(super) early: VecDeque<pb::CloudEvent>,
}

/// A session that has subscribed.
enum Subscribed {
    Tcp(Box<Session>),
    Grpc(Box<Subscription>),
}

impl Receiving {
    pub(crate) async fn run(mut self) {
        let mut reconnect = Reconnect::new(self.dialer.reconnect_max);
        let mut route = Route::default();
        let mut number = 0;
        loop {
            let set_up = tokio::select! {
                set_up = self.set_up(&mut route) => set_up,
                () = self.ends.cancelled() => return,
                () = wished(self.wish.clone(), Wish::Close) => return,
            };
            let ended = match set_up {
                Ok(session) => {
                    number += 1;
                    let (began, received) = (Instant::now(), self.count);
                    let ended = match session {
                        Subscribed::Tcp(session) => self.tcp_session(*session, number).await,
                        Subscribed::Grpc(session) => self.grpc_session(*session, number).await,
                    };
                    reconnect.after(began, self.count > received);
                    ended
                }
                Err(failure) => Ended::Broken(failure),
            };
            let failure = match ended {
                Ended::Closed => return,
                Ended::Redirected(to) if route.redirect(to.clone()) => {
                    tracing::info!("the mesh redirects to {to}");
                    continue;
                }
                Ended::Redirected(to) => circles(&to),
                Ended::Refused(reason) => Failure::retryable(codes::MESH_BUSY, reason),
                Ended::Broken(failure) => failure,
            };
            if self.status.send_replace(lost(&failure)) != lost(&failure) {
                tracing::warn!(code = %failure.code, "no session with the mesh: {}", failure.reason());
            }
            if !failure.is_retryable() {
                self.failed.send_replace(Some(failure));
                return;
            }
            route.failed();
            tokio::select! {
                () = reconnect.wait() => {}
                () = self.ends.cancelled() => return,
                () = wished(self.wish.clone(), Wish::Close) => return,
            }
        }
    }

    async fn set_up(&self, route: &mut Route) -> Result<Subscribed, Failure> {
        Ok(match self.dialer.transport() {
            Transport::Tcp => Subscribed::Tcp(Box::new(self.set_up_tcp(route).await?)),
            Transport::Grpc => Subscribed::Grpc(Box::new(self.set_up_grpc(route).await?)),
        })
    }

    /// Hands a delivery over, or gives it back when there is no room.
    pub(super) fn hand_over(&mut self, mut delivery: Received) -> Option<Received> {
        self.count += 1;
        match self.budget.try_acquire(delivery.raw.len()) {
            Some(reservation) => delivery.reservation = Some(reservation),
            None => return Some(delivery),
        }
        let mut delivery = self.to.try_send(delivery).err()?.into_inner();
        delivery.reservation = None;
        Some(delivery)
    }
}

/// A place for a delivery that was held: its part of the memory, and its turn in the queue.
pub(super) struct Place<'a>(Reservation, mpsc::Permit<'a, Received>);

impl Place<'_> {
    pub(super) fn take(self, mut delivery: Received) {
        delivery.reservation = Some(self.0);
        self.1.send(delivery);
    }
}

/// Waits for the place that the held delivery needs; for ever when none is held or nobody receives any more.
pub(super) async fn place<'a>(budget: &Budget, to: &'a mpsc::Sender<Received>, held: Option<&Received>) -> Place<'a> {
    if let Some(delivery) = held {
        let reservation = budget.acquire(delivery.raw.len()).await;
        if let Ok(turn) = to.reserve().await {
            return Place(reservation, turn);
        }
    }
    std::future::pending().await
}

async fn wished(mut wish: watch::Receiver<Wish>, which: Wish) {
    if wish.wait_for(|wish| *wish == which).await.is_err() {
        std::future::pending::<()>().await;
    }
}
