//! Subscribing over TCP: one connection, deliveries as bytes, acknowledgements written in batches.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use openconnect_protocol::extension::{ACKS, MANY};
use openconnect_protocol::frame::{Command, FrameError, Header, RawFrame, encode_raw};
use openconnect_protocol::session::{Purpose, Subscription, SubscriptionItem, SubscriptionMode, SubscriptionType};
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::MeshStatus;
use super::ended::Ended;
use super::receive::{Acknowledgement, QueuedAck, Received, Receiving, Wish, place};
use super::refused::{self, shorten};
use super::route::Route;
use super::session::{Session, broken, refusal, sent_away};
use crate::codes;
use crate::failure::Failure;

/// Acknowledgements in one frame, at the most.
const ACKS_TOGETHER: usize = 512;
/// How long a server that sends the client away gets to take the acknowledgements that are ready.
const LAST_ACKS: Duration = Duration::from_secs(1);

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
    Leave(Ended),
    Other,
}

impl Receiving {
    pub(super) async fn set_up_tcp(&self, route: &mut Route) -> Result<Session, Failure> {
        let mut session = self.dialer.dial(route, Purpose::Sub).await?;
        let body = Subscription {
            topic_list: vec![SubscriptionItem {
                topic: self.topic.clone(),
                mode: SubscriptionMode::Clustering,
                kind: SubscriptionType::Async,
            }],
        };
        let body = serde_json::to_vec(&body)
            .map_err(|e| Failure::fatal(codes::SESSION_BROKEN, "the subscription can't be written as JSON").because(e))?;
        for (command, body) in [(Command::SubscribeRequest, body.as_slice()), (Command::ListenRequest, b"")] {
            let header = Header::new(command, command.name());
            let answer = timeout(self.dialer.request_timeout, session.request(&header, body))
                .await
                .map_err(|_| {
                    Failure::retryable(
                        codes::MESH_UNREACHABLE,
                        format!("{} did not answer {}", session.server, command.name()),
                    )
                })??;
            if answer.header.code != 0 {
                let (kind, desc) = refusal(&answer.header);
                return Err(refused::subscription(kind, &session.server, &self.topic, desc));
            }
        }
        Ok(session)
    }

    /// Runs one session.
    pub(super) async fn tcp_session(&mut self, mut session: Session, number: u64) -> Ended {
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
                return Ended::Closed;
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
                match self.take_frames(&mut session, number, &mut unanswered, wanted) {
                    Ok(next) => held = next,
                    Err(ended) => {
                        self.write_acks(&mut session, number);
                        session.flush(LAST_ACKS).await;
                        return ended;
                    }
                }
            }
            let paused = held.is_some();
            tokio::select! {
                biased;
                () = self.ends.cancelled() => return Ended::Closed,
                changed = wish.changed() => if changed.is_err() { return Ended::Closed },
                _ = heartbeat.tick() => {
                    if unanswered && !paused {
                        let text = format!("{} did not answer a heartbeat", session.server);
                        return Ended::Broken(Failure::retryable(codes::NO_ANSWER, text));
                    }
                    session.heartbeat();
                    unanswered = true;
                }
                () = acks.notify.notified() => {}
                place = place(&self.budget, &self.to, held.as_ref()), if paused => {
                    if let Some(delivery) = held.take() {
                        place.take(delivery);
                    }
                }
                moved = session.transfer(!paused) => if let Err(e) = moved {
                    return broken(&session.server, e);
                },
            }
        }
    }

    /// Hands over what has been read, until there is no room; gives the delivery back that has none.
    fn take_frames(&mut self, session: &mut Session, number: u64, unanswered: &mut bool, wanted: Wish) -> Result<Option<Received>, Ended> {
        loop {
            let frame = session.frame().map_err(|e| broken(&session.server, e))?;
            let Some(frame) = frame else { return Ok(None) };
            match self.read(&frame, number, &session.server) {
                Pushed::Delivery(delivery) if wanted == Wish::Receive => {
                    if let Some(delivery) = self.hand_over(delivery) {
                        return Ok(Some(delivery));
                    }
                }
                Pushed::Heartbeat => *unanswered = false,
                Pushed::Leave(ended) => return Err(ended),
                // After the stop, a delivery is left unacknowledged.
                Pushed::Delivery(_) | Pushed::Other => {}
            }
        }
    }

    fn read(&self, frame: &RawFrame, number: u64, server: &str) -> Pushed {
        let header: PushHeader<'_> = match serde_json::from_slice(&frame.header) {
            Ok(header) => header,
            Err(e) => return Pushed::Leave(broken(server, FrameError::Header(e.into()))),
        };
        let reply = match Command::named(header.cmd) {
            Some(Command::AsyncMessageToClient) => Command::AsyncMessageToClientAck,
            Some(Command::BroadcastMessageToClient) => Command::BroadcastMessageToClientAck,
            Some(Command::RequestToClient) => Command::RequestToClientAck,
            Some(Command::HeartbeatResponse) => return Pushed::Heartbeat,
            Some(Command::ServerGoodbyeRequest) => return Pushed::Leave(sent_away(server, None)),
            Some(Command::RedirectToClient) => return Pushed::Leave(sent_away(server, Some(&frame.body))),
            _ => return Pushed::Other,
        };
        // EventMesh 1.x pushes a failure without a body for an event that it can't serialise for this transport.
        let failed = header.code != 0 || frame.body.is_empty();
        let unreadable = failed.then(|| shorten(header.desc.as_deref().unwrap_or("the delivery has no body")));
        let ack = QueuedAck {
            session: number,
            seq: header.seq.as_deref().unwrap_or_default().into(),
            reply: reply.name(),
        };
        Pushed::Delivery(Received {
            raw: frame.body.clone(),
            unreadable,
            ack: Acknowledgement {
                acks: Arc::clone(&self.acks),
                ack,
            },
            reservation: None,
        })
    }

    fn write_acks(&self, session: &mut Session, number: u64) {
        let mut acks = self.acks.take();
        // Of an older session: the mesh has given the event to someone else, or will deliver it again.
        acks.retain(|ack| ack.session == number);
        if session.many_acks {
            for same in acks.chunk_by(|a, b| a.reply == b.reply) {
                for together in same.chunks(ACKS_TOGETHER) {
                    let seqs: serde_json::Value = together.iter().map(|ack| &*ack.seq).collect();
                    let body = seqs.to_string();
                    let header = format!(r#"{{"cmd":"{}","code":0,"properties":{{"{ACKS}":"{MANY}"}}}}"#, same[0].reply);
                    let _ = encode_raw(header.as_bytes(), body.as_bytes(), &mut session.output);
                }
            }
            return;
        }
        for ack in acks {
            let seq = serde_json::Value::from(&*ack.seq);
            let header = format!(r#"{{"cmd":"{}","code":0,"seq":{seq},"properties":{{}}}}"#, ack.reply);
            let _ = encode_raw(header.as_bytes(), b"", &mut session.output);
        }
    }
}
