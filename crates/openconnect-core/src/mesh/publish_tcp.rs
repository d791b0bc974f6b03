//! Publishing over TCP: a bounded window in flight, acknowledgements matched by id.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use openconnect_protocol::frame::{RawFrame, encode_raw};
use openconnect_protocol::session::RedirectInfo;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};

use super::MeshStatus;
use super::publish::{Ended, Flight, Lane, Outgoing};
use super::session::{Session, shorten};
use crate::failure::Failure;

/// Output is topped up to this many bytes before it is written.
const OUTPUT: usize = 256 << 10;
/// How long a server that refuses is left alone.
const REFUSED: Duration = Duration::from_millis(200);

/// An event that was sent and not confirmed.
pub(super) struct Sent {
    seq: u64,
    pub(super) event: Outgoing,
    at: Instant,
}

impl Lane {
    pub(super) async fn tcp_session(&mut self, mut session: Session, flight: &mut Flight) -> Ended {
        let ordered = session.capabilities.ordered_refusal;
        let window = self.window.unwrap_or(if ordered { 4096 } else { 1 });
        self.announce(&session.capabilities, flight);
        let mut heartbeat = interval(self.dialer.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        let mut unanswered = false;
        let mut resume_at: Option<Instant> = None;
        let mut open = true;
        let mut batch = Vec::new();
        loop {
            if resume_at.is_none() {
                flight.fill(&mut session.output, window);
            }
            if !open && flight.is_empty() {
                session.goodbye(self.dialer.request_timeout).await;
                return Ended::Closed;
            }
            tokio::select! {
                biased;
                () = self.ends.cancelled() => return Ended::Closed,
                moved = session.transfer(true) => {
                    if let Err(e) = moved {
                        return broken(&session, &e);
                    }
                    loop {
                        let frame = match session.frame() {
                            Ok(Some(frame)) => frame,
                            Ok(None) => break,
                            Err(e) => return broken(&session, &e),
                        };
                        match flight.answer(&frame) {
                            Answer::Confirmed => {
                                resume_at = None;
                                self.believed();
                            }
                            Answer::Resolved | Answer::Unknown => {}
                            Answer::Heartbeat => unanswered = false,
                            Answer::Leave(reason) => return Ended::Broken(Failure::retryable("OC0308", reason)),
                            // It stays where it is among what was sent: all of it is sent again, in order.
                            Answer::Refused(_, reason) if ordered => return Ended::Refused(reason),
                            Answer::Refused(at, reason) => {
                                flight.send_again(at);
                                self.status.send_replace(MeshStatus::Refusing { reason });
                                resume_at = Some(Instant::now() + REFUSED);
                            }
                        }
                    }
                }
                received = self.queue.recv_many(&mut batch, 256), if open && flight.waiting.len() < 512 => {
                    open = received > 0;
                    flight.waiting.extend(batch.drain(..));
                }
                () = until(resume_at) => resume_at = None,
                _ = heartbeat.tick() => {
                    if unanswered {
                        return Ended::Broken(Failure::retryable("OC0309", format!("{} did not answer a heartbeat", session.server)));
                    }
                    if flight.sent.front().is_some_and(|first| first.at.elapsed() > self.dialer.request_timeout) {
                        return Ended::Broken(Failure::retryable("OC0309", format!("{} did not confirm an event in time", session.server)));
                    }
                    session.heartbeat();
                    unanswered = true;
                }
            }
        }
    }
}

fn broken(session: &Session, error: &impl std::fmt::Display) -> Ended {
    Ended::Broken(Failure::retryable(
        "OC0306",
        format!("the session with {} broke: {error}", session.server),
    ))
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// What an answer meant.
enum Answer {
    Confirmed,
    Resolved,
    Unknown,
    Heartbeat,
    Leave(String),
    /// The event at this place of what was sent is refused for now.
    Refused(usize, String),
}

/// The members of an acknowledgement that matter, borrowed.
#[derive(Deserialize)]
struct AckHeader<'a> {
    #[serde(borrow)]
    cmd: &'a str,
    #[serde(default)]
    code: i32,
    #[serde(borrow, default)]
    desc: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    seq: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct AckBody<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
}

impl Flight {
    /// One event that was sent is to be sent again, next.
    fn send_again(&mut self, at: usize) {
        if let Some(sent) = self.sent.remove(at) {
            self.waiting.push_front(sent.event);
        }
    }

    fn fill(&mut self, output: &mut BytesMut, window: usize) {
        let now = Instant::now();
        while self.sent.len() < window && output.len() < OUTPUT {
            let Some(event) = self.waiting.pop_front() else { return };
            let seq = self.next_seq;
            self.next_seq += 1;
            let header = format!(
                r#"{{"cmd":"ASYNC_MESSAGE_TO_SERVER","code":0,"seq":"{seq}","properties":{{"protocoltype":"cloudevents","protocolversion":"1.0","protocoldesc":"tcp"}}}}"#
            );
            match encode_raw(header.as_bytes(), &event.body, output) {
                Ok(()) => self.sent.push_back(Sent { seq, event, at: now }),
                Err(e) => {
                    let _ = event.done.send(Err(Failure::permanent("OC0310", e.to_string())));
                }
            }
        }
    }

    fn answer(&mut self, frame: &RawFrame) -> Answer {
        let Ok(header) = serde_json::from_slice::<AckHeader<'_>>(&frame.header) else {
            return Answer::Leave("the server sent a header that can't be read".into());
        };
        match header.cmd {
            "ASYNC_MESSAGE_TO_SERVER_ACK" | "BROADCAST_MESSAGE_TO_SERVER_ACK" => self.acknowledged(&header, &frame.body),
            "HEARTBEAT_RESPONSE" => Answer::Heartbeat,
            "SERVER_GOODBYE_REQUEST" => Answer::Leave("the server says goodbye".into()),
            "REDIRECT_TO_CLIENT" => Answer::Leave(match serde_json::from_slice::<RedirectInfo>(&frame.body) {
                Ok(to) => format!("the server redirects to {}:{}", to.ip, to.port),
                Err(_) => "the server redirects".into(),
            }),
            _ => Answer::Unknown,
        }
    }

    /// EventMesh 1.x can answer with another message's `seq`; the id in the body is right (when there is one).
    fn find(&self, header: &AckHeader<'_>, body: &[u8]) -> Option<usize> {
        let id = serde_json::from_slice::<AckBody<'_>>(body).ok().and_then(|body| body.id);
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            return self.sent.iter().position(|sent| sent.event.id == id);
        }
        let seq: u64 = header.seq.as_deref()?.parse().ok()?;
        self.sent.iter().position(|sent| sent.seq == seq)
    }

    fn acknowledged(&mut self, header: &AckHeader<'_>, body: &[u8]) -> Answer {
        let Some(at) = self.find(header, body) else {
            return Answer::Unknown;
        };
        if header.code == 0 {
            if let Some(sent) = self.sent.remove(at) {
                let _ = sent.event.done.send(Ok(()));
            }
            return Answer::Confirmed;
        }
        let desc = header.desc.as_deref().unwrap_or("no reason given");
        match classify(desc) {
            Refusal::Permanent(failure) => {
                if let Some(sent) = self.sent.remove(at) {
                    let _ = sent.event.done.send(Err(failure));
                }
                Answer::Resolved
            }
            Refusal::Session => Answer::Leave(format!("the server refused an event: {}", shorten(desc))),
            Refusal::Passing => Answer::Refused(at, shorten(desc)),
        }
    }
}

enum Refusal {
    Permanent(Failure),
    Session,
    Passing,
}

/// What a refusal's text means (`eventmesh-tcp.md` 3.2: every refusal has code 1).
fn classify(desc: &str) -> Refusal {
    let has = |texts: &[&str]| texts.iter().any(|text| desc.contains(text));
    if has(&["event size exceeds the limit"]) {
        return Refusal::Permanent(Failure::permanent(
            "OC0311",
            format!("{}; the server's setting is eventMesh.server.maxEventSize", shorten(desc)),
        ));
    }
    if has(&["AclException", "no group register", "has no auth", "not allowed"]) {
        return Refusal::Permanent(Failure::permanent(
            "OC0312",
            format!("the server does not allow it: {}", shorten(desc)),
        ));
    }
    if has(&[
        "Unsupported protocol",
        "invalid protocol params",
        "EventDeserializationException",
        "NullPointerException",
        "unknown topic",
        "malformed",
        "invalid topic",
    ]) {
        return Refusal::Permanent(Failure::permanent(
            "OC0313",
            format!("the server can't take the event: {}", shorten(desc)),
        ));
    }
    if has(&["no session is found", "session will be closed", "server state is not running"]) {
        return Refusal::Session;
    }
    Refusal::Passing
}
