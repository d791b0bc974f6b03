//! Subscribing over TCP: one connection, deliveries as bytes, acknowledgements written in batches.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use openconnect_protocol::frame::{Command, Header, RawFrame, encode_raw};
use openconnect_protocol::session::{Purpose, Subscription, SubscriptionItem, SubscriptionMode, SubscriptionType};
use serde::Deserialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::session::{Backoff, Dialer, Session, lost, shorten};
use super::{Capabilities, MeshStatus};
use crate::failure::Failure;

/// What a delivery costs in the buffer beside its bytes.
const PER_DELIVERY: usize = 256;

/// Acknowledgements that wait to be written.
#[derive(Default)]
pub(crate) struct Acks {
    queued: Mutex<Vec<QueuedAck>>,
    notify: Notify,
}

struct QueuedAck {
    session: u64,
    seq: Box<str>,
    reply: &'static str,
}

impl Acks {
    fn take(&self) -> Vec<QueuedAck> {
        std::mem::take(&mut *self.queued.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The acknowledgement of one delivery.
pub(crate) struct TcpAck {
    acks: Arc<Acks>,
    ack: QueuedAck,
}

impl TcpAck {
    pub(crate) fn ack(self) {
        self.acks.queued.lock().unwrap_or_else(PoisonError::into_inner).push(self.ack);
        self.acks.notify.notify_one();
    }
}

/// What the subscriber's task sends: the delivery and its part of the buffer.
pub(crate) struct Received {
    pub(crate) raw: Bytes,
    pub(crate) unreadable: Option<String>,
    pub(crate) ack: TcpAck,
    pub(crate) _room: Option<OwnedSemaphorePermit>,
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
    pub(crate) room: Arc<Semaphore>,
    pub(crate) room_total: usize,
    pub(crate) wish: watch::Receiver<Wish>,
    pub(crate) status: watch::Sender<MeshStatus>,
    pub(crate) capabilities: watch::Sender<Option<Capabilities>>,
    pub(crate) failed: watch::Sender<Option<Failure>>,
    pub(crate) ends: CancellationToken,
    pub(crate) acks: Arc<Acks>,
}

#[derive(Deserialize)]
struct PushHeader<'a> {
    #[serde(borrow)]
    cmd: &'a str,
    #[serde(default)]
    code: i32,
    #[serde(borrow, default)]
    desc: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    seq: Option<Cow<'a, str>>,
}

enum Pushed {
    Delivery(Received),
    Heartbeat,
    Leave(String),
    Other,
}

impl Receiving {
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(self.dialer.reconnect_max);
        let (mut server, mut number) = (0, 0);
        loop {
            let set_up = tokio::select! {
                set_up = self.set_up(server) => set_up,
                () = self.ends.cancelled() => return,
                () = wished(self.wish.clone(), Wish::Close) => return,
            };
            let failure = match set_up {
                Ok((session, at)) => {
                    server = at;
                    number += 1;
                    backoff.reset();
                    match self.session(session, number).await {
                        None => return,
                        Some(failure) => failure,
                    }
                }
                Err(failure) => failure,
            };
            if self.status.send_replace(lost(&failure)) != lost(&failure) {
                tracing::warn!(code = %failure.code, "no session with the mesh: {}", failure.message);
            }
            if !failure.is_retryable() {
                self.failed.send_replace(Some(failure));
                return;
            }
            server += 1;
            tokio::select! {
                () = backoff.wait() => {}
                () = self.ends.cancelled() => return,
                () = wished(self.wish.clone(), Wish::Close) => return,
            }
        }
    }

    async fn set_up(&self, server: usize) -> Result<(Session, usize), Failure> {
        let (mut session, at) = self.dialer.dial(server, Purpose::Sub).await?;
        let body = Subscription {
            topic_list: vec![SubscriptionItem {
                topic: self.topic.clone(),
                mode: SubscriptionMode::Clustering,
                kind: SubscriptionType::Async,
            }],
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        for (command, body) in [(Command::SubscribeRequest, body.as_slice()), (Command::ListenRequest, b"")] {
            let header = Header::new(command, command.name());
            let answer = timeout(self.dialer.request_timeout, session.request(&header, body))
                .await
                .map_err(|_| Failure::retryable("OC0303", format!("{} did not answer {}", session.server, command.name())))??;
            if answer.header.code != 0 {
                let desc = shorten(answer.header.desc.as_deref().unwrap_or("no reason given"));
                let text = format!("{} refused to subscribe to `{}`: {desc}", session.server, self.topic);
                let lasting = ["AclException", "no auth", "not allowed", "unknown topic", "invalid topic"]
                    .iter()
                    .any(|known| desc.contains(known));
                return Err(if lasting {
                    Failure::fatal("OC0314", text)
                } else {
                    Failure::retryable("OC0314", text)
                });
            }
        }
        Ok((session, at))
    }

    /// Runs one session; `None` when the subscriber is done.
    async fn session(&mut self, mut session: Session, number: u64) -> Option<Failure> {
        self.capabilities.send_replace(Some(session.capabilities.clone()));
        self.status.send_replace(MeshStatus::Connected);
        let mut heartbeat = interval(self.dialer.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        let mut unanswered = false;
        let mut held: Option<Received> = None;
        let mut wish = self.wish.clone();
        let acks = Arc::clone(&self.acks);
        let mut unsubscribed = false;
        loop {
            self.write_acks(&mut session, number);
            let wanted = *wish.borrow_and_update();
            if wanted == Wish::Close && session.output.is_empty() {
                session.goodbye(self.dialer.request_timeout).await;
                return None;
            }
            if wanted != Wish::Receive {
                held = None;
                if !std::mem::replace(&mut unsubscribed, true) {
                    let header = Header::new(Command::UnsubscribeRequest, "unsubscribe");
                    let _ = openconnect_protocol::frame::encode(&header, b"", &mut session.output);
                }
            }
            // While one delivery waits for room, the socket is not read: back-pressure. Frames read before wait with it.
            if held.is_none() {
                match self.take_frames(&mut session, number, &mut unanswered, wanted).await {
                    Ok(next) => held = next,
                    Err(failure) => return Some(failure),
                }
            }
            let paused = held.is_some();
            tokio::select! {
                biased;
                () = self.ends.cancelled() => return None,
                changed = wish.changed() => if changed.is_err() { return None },
                () = acks.notify.notified() => {}
                room = room_for(&self.room, self.room_total, held.as_ref()), if paused => {
                    if let Some(mut delivery) = held.take() {
                        delivery._room = room;
                        // Nobody receives any more: the delivery stays unacknowledged, acknowledgements still go out.
                        let _ = self.to.send(delivery).await;
                    }
                }
                moved = session.transfer(!paused) => if let Err(e) = moved {
                    return Some(Failure::retryable("OC0306", format!("the session with {} broke: {e}", session.server)));
                },
                _ = heartbeat.tick() => {
                    if unanswered && !paused {
                        return Some(Failure::retryable("OC0309", format!("{} did not answer a heartbeat", session.server)));
                    }
                    session.heartbeat();
                    unanswered = true;
                }
            }
        }
    }

    /// Hands over what has been read, until there is no room; gives the delivery back that has none.
    async fn take_frames(
        &self,
        session: &mut Session,
        number: u64,
        unanswered: &mut bool,
        wanted: Wish,
    ) -> Result<Option<Received>, Failure> {
        loop {
            let frame = session.frame().map_err(|e| Failure::retryable("OC0306", e.to_string()))?;
            let Some(frame) = frame else { return Ok(None) };
            match self.read(&frame, number) {
                Pushed::Delivery(mut delivery) if wanted == Wish::Receive => {
                    let cost = cost(delivery.raw.len(), self.room_total);
                    match Arc::clone(&self.room).try_acquire_many_owned(cost) {
                        Ok(room) => delivery._room = Some(room),
                        Err(_) => return Ok(Some(delivery)),
                    }
                    if let Err(full) = self.to.try_send(delivery) {
                        let mut delivery = full.into_inner();
                        delivery._room = None;
                        return Ok(Some(delivery));
                    }
                }
                Pushed::Heartbeat => *unanswered = false,
                Pushed::Leave(reason) => return Err(Failure::retryable("OC0308", reason)),
                // After the stop, a delivery is left unacknowledged.
                Pushed::Delivery(_) | Pushed::Other => {}
            }
        }
    }

    fn read(&self, frame: &RawFrame, number: u64) -> Pushed {
        let Ok(header) = serde_json::from_slice::<PushHeader<'_>>(&frame.header) else {
            return Pushed::Leave("the server sent a header that can't be read".into());
        };
        let reply = match header.cmd {
            "ASYNC_MESSAGE_TO_CLIENT" => "ASYNC_MESSAGE_TO_CLIENT_ACK",
            "BROADCAST_MESSAGE_TO_CLIENT" => "BROADCAST_MESSAGE_TO_CLIENT_ACK",
            "REQUEST_TO_CLIENT" => "REQUEST_TO_CLIENT_ACK",
            "HEARTBEAT_RESPONSE" => return Pushed::Heartbeat,
            "SERVER_GOODBYE_REQUEST" => return Pushed::Leave("the server says goodbye".into()),
            "REDIRECT_TO_CLIENT" => return Pushed::Leave("the server redirects".into()),
            _ => return Pushed::Other,
        };
        // EventMesh 1.x pushes a failure without a body for an event that it can't serialise for this transport.
        let failed = header.code != 0 || frame.body.is_empty();
        let unreadable = failed.then(|| shorten(header.desc.as_deref().unwrap_or("the delivery has no body")));
        let ack = QueuedAck {
            session: number,
            seq: header.seq.as_deref().unwrap_or_default().into(),
            reply,
        };
        Pushed::Delivery(Received {
            raw: frame.body.clone(),
            unreadable,
            ack: TcpAck {
                acks: Arc::clone(&self.acks),
                ack,
            },
            _room: None,
        })
    }

    fn write_acks(&self, session: &mut Session, number: u64) {
        for ack in self.acks.take() {
            // Of an older session: the mesh has given the event to someone else, or will deliver it again.
            if ack.session != number {
                continue;
            }
            let seq = serde_json::Value::from(&*ack.seq);
            let header = format!(r#"{{"cmd":"{}","code":0,"seq":{seq},"properties":{{}}}}"#, ack.reply);
            let _ = encode_raw(header.as_bytes(), b"", &mut session.output);
        }
    }
}

fn cost(bytes: usize, total: usize) -> u32 {
    u32::try_from((bytes + PER_DELIVERY).min(total)).unwrap_or(u32::MAX)
}

async fn room_for(room: &Arc<Semaphore>, total: usize, held: Option<&Received>) -> Option<OwnedSemaphorePermit> {
    match held {
        Some(delivery) => Arc::clone(room).acquire_many_owned(cost(delivery.raw.len(), total)).await.ok(),
        None => std::future::pending().await,
    }
}

async fn wished(mut wish: watch::Receiver<Wish>, which: Wish) {
    if wish.wait_for(|wish| *wish == which).await.is_err() {
        std::future::pending::<()>().await;
    }
}
