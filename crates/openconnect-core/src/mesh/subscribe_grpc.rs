//! Subscribing over gRPC: one stream of deliveries. `openconnect-mesh` takes acknowledgements on the same stream; for
//! EventMesh 1.x a delivery is consumed once it is written, and no acknowledgement exists.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use openconnect_protocol::extension;
use openconnect_protocol::grpc::pb::consumer_service_client::ConsumerServiceClient;
use openconnect_protocol::grpc::{self, StatusCode, attr, keys, pb, set_attr};
use openconnect_protocol::refusal::RefusalKind;
use openconnect_protocol::wire;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::MeshStatus;
use super::ended::Ended;
use super::grpc::{Client, GrpcSession, MAX_MESSAGE, call_failed, reason, within};
use super::receive::{Acknowledgement, QueuedAck, Received, Receiving, Subscription, Wish, place};
use super::refused::{self, shorten};
use super::route::Route;
use crate::codes;
use crate::failure::Failure;

/// Acknowledgements in one message.
const ACKS: usize = 512;
/// Deliveries that may come before the subscription is answered.
const EARLY: usize = 1024;

type Heartbeat<'a> = Pin<Box<dyn Future<Output = Result<pb::CloudEvent, Failure>> + Send + 'a>>;

impl Receiving {
    pub(super) async fn set_up_grpc(&self, route: &mut Route) -> Result<Subscription, Failure> {
        let session = self.dialer.dial_grpc(route).await?;
        let name = session.server.clone();
        let limit = self.dialer.request_timeout;
        timeout(limit, self.subscribe(session)).await.map_err(|_| {
            Failure::retryable(
                codes::MESH_UNREACHABLE,
                format!("{name} did not answer the subscription within {limit:?}"),
            )
        })?
    }

    /// The subscription, as the first message and as a barrier: its answer comes after what was sent before it was handled.
    fn subscription(&self) -> pb::CloudEvent {
        let items = serde_json::json!([{"topic": self.topic, "mode": "CLUSTERING", "type": "ASYNC"}]).to_string();
        let mut call = self.dialer.subscription_call(&items);
        set_attr(&mut call, extension::ACKNOWLEDGES, extension::TRUE);
        set_attr(&mut call, extension::HOLDS, extension::TRUE);
        call
    }

    async fn subscribe(&self, mut session: GrpcSession) -> Result<Subscription, Failure> {
        let (to_server, outgoing) = mpsc::channel(16);
        let closed = || Failure::retryable(codes::SESSION_BROKEN, "the stream ended before the subscription was answered");
        to_server.send(self.subscription()).await.map_err(|_| closed())?;
        let mut consumer = ConsumerServiceClient::new(session.channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let stream = consumer.subscribe_stream(ReceiverStream::new(outgoing)).await;
        let mut from_server = stream.map_err(|status| call_failed(&session.server, &status))?.into_inner();
        let mut early = VecDeque::new();
        loop {
            let message = from_server.message().await;
            let message = message
                .map_err(|status| call_failed(&session.server, &status))?
                .ok_or_else(closed)?;
            if !is_answer(&message) {
                if early.len() >= EARLY {
                    return Err(Failure::retryable(
                        codes::SESSION_BROKEN,
                        "the server delivers, but does not answer the subscription",
                    ));
                }
                early.push_back(message);
                continue;
            }
            match StatusCode::of(&message) {
                Some(StatusCode::SUCCESS) => {
                    session.learn(&message);
                    return Ok(Subscription {
                        session,
                        to_server,
                        from_server,
                        early,
                    });
                }
                _ => {
                    let kind = RefusalKind::of_grpc(&message);
                    return Err(refused::subscription(kind, &session.server, &self.topic, reason(&message)));
                }
            }
        }
    }

    /// Runs one session.
    pub(super) async fn grpc_session(&mut self, subscription: Subscription, number: u64) -> Ended {
        let Subscription {
            session,
            to_server,
            mut from_server,
            early,
        } = subscription;
        self.capabilities.send_replace(Some(session.capabilities.clone()));
        self.status.send_replace(MeshStatus::Connected);
        let items = serde_json::json!([{"topic": self.topic, "url": "grpc_stream"}]).to_string();
        let mut heartbeat = interval(self.dialer.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        let mut beating: Option<Heartbeat<'_>> = None;
        let mut held: VecDeque<Received> = early.into_iter().map(|message| self.delivery(message, number)).collect();
        let mut seqs: VecDeque<Box<str>> = VecDeque::new();
        let mut wish = self.wish.clone();
        let acks = Arc::clone(&self.acks);
        loop {
            let of_session = acks.take().into_iter().filter(|ack| ack.session == number && !ack.seq.is_empty());
            seqs.extend(of_session.map(|ack| ack.seq));
            let wanted = *wish.borrow_and_update();
            if wanted != Wish::Receive {
                held.clear();
                if wanted == Wish::Close && seqs.is_empty() {
                    self.leave(&session, &to_server, &mut from_server).await;
                    return Ended::Closed;
                }
            }
            while let Some(delivery) = held.pop_front() {
                if let Some(delivery) = self.hand_over(delivery) {
                    held.push_front(delivery);
                    break;
                }
            }
            // While one delivery waits for room, the stream is not read: back-pressure.
            let paused = !held.is_empty();
            tokio::select! {
                biased;
                () = self.ends.cancelled() => return Ended::Closed,
                changed = wish.changed() => if changed.is_err() { return Ended::Closed },
                permit = to_server.reserve(), if !seqs.is_empty() => match permit {
                    Ok(permit) => permit.send(acknowledgements(&mut seqs)),
                    Err(_) => return ended(&session),
                },
                () = acks.notify.notified() => {}
                place = place(&self.budget, &self.to, held.front()), if paused => {
                    if let Some(delivery) = held.pop_front() {
                        place.take(delivery);
                    }
                }
                beat = beat(&mut beating) => {
                    beating = None;
                    if let Err(failure) = beat {
                        return Ended::Broken(failure);
                    }
                }
                message = from_server.message(), if !paused => match message {
                    Ok(Some(message)) if is_answer(&message) => {
                        if StatusCode::of(&message) != Some(StatusCode::SUCCESS) {
                            let text = format!("{} ends the subscription: {}", session.server, shorten(reason(&message)));
                            return Ended::Broken(Failure::retryable(codes::SENT_AWAY, text));
                        }
                    }
                    Ok(Some(message)) => held.push_back(self.delivery(message, number)),
                    Ok(None) => return ended(&session),
                    Err(status) => return Ended::Broken(call_failed(&session.server, &status)),
                },
                _ = heartbeat.tick(), if beating.is_none() => {
                    beating = Some(Box::pin(session.heartbeat(Client::Subscriber, &items)));
                }
            }
        }
    }

    /// Waits until the server has handled the acknowledgements that were sent, then unsubscribes. Bounded by the caller.
    async fn leave(&self, session: &GrpcSession, to_server: &mpsc::Sender<pb::CloudEvent>, from_server: &mut Streaming<pb::CloudEvent>) {
        if session.capabilities.acknowledges && to_server.send(self.subscription()).await.is_ok() {
            while let Ok(Some(message)) = from_server.message().await {
                if is_answer(&message) {
                    break;
                }
            }
        }
        let mut consumer = ConsumerServiceClient::new(session.channel.clone());
        let left = within(
            self.dialer.request_timeout,
            &session.server,
            consumer.unsubscribe(self.subscription()),
        )
        .await;
        if let Err(failure) = left {
            tracing::debug!(code = %failure.code, "could not unsubscribe: {}", failure.reason());
        }
    }

    fn delivery(&self, message: pb::CloudEvent, number: u64) -> Received {
        let seq = attr(&message, extension::SEQ).unwrap_or_default().into();
        let failed = StatusCode::of(&message).filter(|code| *code != StatusCode::SUCCESS);
        let bytes = |message: &pb::CloudEvent| message.encode_to_vec().into();
        let (raw, unreadable) = match failed {
            Some(_) => (bytes(&message), Some(shorten(reason(&message)))),
            None => match grpc::to_event(message.clone()) {
                Ok(event) => (wire::encode(&event, &self.topic).into(), None),
                Err(error) => (bytes(&message), Some(error.to_string())),
            },
        };
        Received {
            raw,
            unreadable,
            ack: Acknowledgement {
                acks: Arc::clone(&self.acks),
                ack: QueuedAck {
                    session: number,
                    seq,
                    reply: "",
                },
            },
            reservation: None,
        }
    }
}

/// Answers have an outcome and no `uniqueid`; what has a delivery's number is a delivery.
fn is_answer(message: &pb::CloudEvent) -> bool {
    let has = |name| attr(message, name).is_some();
    has(keys::STATUS_CODE) && !has(keys::UNIQUE_ID) && !has(extension::SEQ)
}

fn acknowledgements(seqs: &mut VecDeque<Box<str>>) -> pb::CloudEvent {
    let some: Vec<_> = seqs.drain(..seqs.len().min(ACKS)).collect();
    let mut message = pb::CloudEvent {
        id: uuid::Uuid::new_v4().to_string(),
        source: "/".into(),
        spec_version: "1.0".into(),
        r#type: "org.apache.eventmesh".into(),
        ..Default::default()
    };
    set_attr(&mut message, keys::SUB_MESSAGE_TYPE, "subscription_ack");
    set_attr(&mut message, extension::SEQ, some.join(","));
    message
}

async fn beat(beating: &mut Option<Heartbeat<'_>>) -> Result<pb::CloudEvent, Failure> {
    match beating {
        Some(beating) => beating.await,
        None => std::future::pending().await,
    }
}

fn ended(session: &GrpcSession) -> Ended {
    Ended::Broken(Failure::retryable(codes::SENT_AWAY, format!("{} ended the stream", session.server)))
}
