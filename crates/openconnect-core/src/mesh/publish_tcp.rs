//! Publishing over TCP: a bounded window in flight, acknowledgements matched by id.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use openconnect_protocol::extension::{MANY, acknowledged};
use openconnect_protocol::frame::{Command, FrameError, RawFrame, encode_raw};
use openconnect_protocol::refusal::RefusalKind;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};

use super::MeshStatus;
use super::ended::Ended;
use super::publish::{Flight, Lane, Sent};
use super::refused::{self, Consequence};
use super::session::{Session, broken, sent_away};
use crate::codes;
use crate::failure::Failure;

/// Output is topped up to this many bytes before it is written.
const OUTPUT: usize = 256 << 10;
/// How long a server that refuses is left alone.
const REFUSED: Duration = Duration::from_millis(200);
/// Refusals in a row before the session is set up again: EventMesh 1.x can lose count of a session's window.
const REFUSALS: u32 = 20;
/// How long a server that sends the client away gets to confirm what is in flight.
const LEAVING: Duration = Duration::from_secs(5);

/// How a session goes.
struct Course {
    /// The server keeps order on refusal.
    ordered: bool,
    /// The last heartbeat has not been answered.
    unanswered: bool,
    /// Nothing is sent before then: the server refused.
    resume_at: Option<Instant>,
    /// In a row.
    refusals: u32,
    /// The server sends the client away: nothing more is sent, what is in flight may be confirmed until then.
    leaving: Option<(Ended, Instant)>,
}

impl Course {
    /// Why the session ends now: the server's own wish goes before what comes of it.
    fn end(&mut self, ended: Ended) -> Ended {
        self.leaving.take().map_or(ended, |(away, _)| away)
    }
}

impl Lane {
    pub(super) async fn tcp_session(&mut self, mut session: Session, flight: &mut Flight) -> Ended {
        let ordered = session.capabilities.ordered_refusal;
        let window = self.window.unwrap_or(if ordered { 4096 } else { 1 });
        self.announce(&session.capabilities, flight);
        let mut heartbeat = interval(self.dialer.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        let mut course = Course {
            ordered,
            unanswered: false,
            resume_at: None,
            refusals: 0,
            leaving: None,
        };
        let mut open = true;
        let mut batches = Vec::new();
        loop {
            if let Err(ended) = self.take_answers(&mut session, flight, &mut course) {
                return course.end(ended);
            }
            if !open && flight.is_empty() {
                session.goodbye(self.dialer.request_timeout).await;
                return Ended::Closed;
            }
            let done = |until: Instant| flight.sent.is_empty() || until <= Instant::now();
            if let Some((ended, _)) = course.leaving.take_if(|(_, until)| done(*until)) {
                return ended;
            }
            if course.resume_at.is_none() && course.leaving.is_none() {
                flight.fill(&mut session.output, window);
            }
            let pause = course.leaving.as_ref().map(|(_, until)| *until).or(course.resume_at);
            tokio::select! {
                biased;
                () = self.ends.cancelled() => return Ended::Closed,
                _ = heartbeat.tick() => {
                    if course.unanswered {
                        return Ended::Broken(Failure::retryable(codes::NO_ANSWER, format!("{} did not answer a heartbeat", session.server)));
                    }
                    if flight.sent.front().is_some_and(|first| first.at.elapsed() > self.dialer.request_timeout) {
                        return Ended::Broken(Failure::retryable(codes::NO_ANSWER, format!("{} did not confirm an event in time", session.server)));
                    }
                    session.heartbeat();
                    course.unanswered = true;
                }
                moved = session.transfer(true) => if let Err(e) = moved {
                    return course.end(broken(&session.server, e));
                },
                received = self.queue.recv_many(&mut batches, 256), if open && flight.waiting.len() < 512 => {
                    open = received > 0;
                    flight.waiting.extend(batches.drain(..).flatten());
                }
                () = until(pause) => course.resume_at = None,
            }
        }
    }

    /// Handles every frame that has been read; an error ends the session.
    fn take_answers(&self, session: &mut Session, flight: &mut Flight, course: &mut Course) -> Result<(), Ended> {
        loop {
            let frame = session.frame().map_err(|e| broken(&session.server, e))?;
            let Some(frame) = frame else { return Ok(()) };
            let unreadable = |e: serde_json::Error| broken(&session.server, FrameError::Header(e.into()));
            match flight.answer(&frame, &session.server).map_err(unreadable)? {
                Answer::Confirmed => {
                    course.resume_at = None;
                    course.refusals = 0;
                    self.believed();
                }
                Answer::Resolved | Answer::Unknown => {}
                Answer::Heartbeat => course.unanswered = false,
                Answer::Leave(ended) if course.leaving.is_none() => course.leaving = Some((ended, Instant::now() + LEAVING)),
                Answer::Leave(_) => {}
                Answer::Over(ended) => return Err(ended),
                // It stays where it is among what was sent: all of it is sent again, in order.
                Answer::Refused(_, reason) if course.ordered || course.refusals >= REFUSALS => return Err(Ended::Refused(reason)),
                Answer::Refused(at, reason) => {
                    course.refusals += 1;
                    flight.send_again(at);
                    self.status.send_replace(MeshStatus::Refusing { reason });
                    course.resume_at = Some(Instant::now() + REFUSED);
                }
            }
        }
    }
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
    /// The server sends the client away.
    Leave(Ended),
    /// The session is of no use any more.
    Over(Ended),
    /// The event at this place of what was sent is refused for now.
    Refused(usize, String),
}

/// The command of every publish.
const PUBLISH: &str = Command::AsyncMessageToServer.name();

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
    #[serde(borrow, default)]
    properties: Option<AckProperties<'a>>,
}

impl AckHeader<'_> {
    fn has_many(&self) -> bool {
        let acks = self
            .properties
            .as_ref()
            .and_then(|properties| properties.openconnectacks.as_deref());
        acks == Some(MANY)
    }
}

#[derive(Deserialize)]
struct AckProperties<'a> {
    #[serde(borrow, default)]
    openconnectrefusal: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    openconnectacks: Option<Cow<'a, str>>,
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
        let prefix = self.prefix;
        let mut header = String::with_capacity(192);
        while self.sent.len() < window && output.len() < OUTPUT {
            let Some(event) = self.waiting.pop_front() else { return };
            let seq = self.next_seq;
            self.next_seq += 1;
            header.clear();
            let _ = write!(
                header,
                r#"{{"cmd":"{PUBLISH}","code":0,"seq":"{prefix}-{seq}","properties":{{"protocoltype":"cloudevents","protocolversion":"1.0","protocoldesc":"tcp"}}}}"#
            );
            match encode_raw(header.as_bytes(), &event.body, output) {
                Ok(()) => self.sent.push_back(Sent { seq, event, at: now }),
                Err(e) => self.refuse(
                    event,
                    Failure::permanent(codes::EVENT_NOT_FRAMED, "the event can't be framed").because(e),
                ),
            }
        }
    }

    /// What a frame from the server means; a header that can't be read is an error.
    fn answer(&mut self, frame: &RawFrame, server: &str) -> Result<Answer, serde_json::Error> {
        let header: AckHeader<'_> = serde_json::from_slice(&frame.header)?;
        Ok(match Command::named(header.cmd) {
            Some(Command::AsyncMessageToServerAck | Command::BroadcastMessageToServerAck) if header.has_many() => {
                self.confirm_many(&acknowledged(&frame.body)?);
                Answer::Confirmed
            }
            Some(Command::AsyncMessageToServerAck | Command::BroadcastMessageToServerAck) => {
                self.acknowledged(&header, &frame.body, server)
            }
            Some(Command::HeartbeatResponse) => Answer::Heartbeat,
            Some(Command::ServerGoodbyeRequest) => Answer::Leave(sent_away(server, None)),
            Some(Command::RedirectToClient) => Answer::Leave(sent_away(server, Some(&frame.body))),
            _ => Answer::Unknown,
        })
    }

    /// EventMesh 1.x can answer with another message's `seq`; the id in the body is right (when there is one).
    fn find(&self, header: &AckHeader<'_>, body: &[u8]) -> Option<usize> {
        let id = serde_json::from_slice::<AckBody<'_>>(body).ok().and_then(|body| body.id);
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            return self.sent.iter().position(|sent| sent.event.id == id);
        }
        self.find_seq(header.seq.as_deref()?)
    }

    fn find_seq(&self, seq: &str) -> Option<usize> {
        let (prefix, seq) = seq.split_once('-')?;
        let seq: u64 = seq.parse().ok().filter(|_| prefix.parse() == Ok(self.prefix))?;
        self.sent.iter().position(|sent| sent.seq == seq)
    }

    fn confirm_many(&mut self, seqs: &[Cow<'_, str>]) {
        for seq in seqs {
            if let Some(sent) = self.find_seq(seq).and_then(|at| self.sent.remove(at)) {
                self.confirm(sent.event);
            }
        }
    }

    fn acknowledged(&mut self, header: &AckHeader<'_>, body: &[u8], server: &str) -> Answer {
        let Some(at) = self.find(header, body) else {
            return Answer::Unknown;
        };
        if header.code == 0 {
            if let Some(sent) = self.sent.remove(at) {
                self.confirm(sent.event);
            }
            return Answer::Confirmed;
        }
        let told = header
            .properties
            .as_ref()
            .and_then(|properties| properties.openconnectrefusal.as_deref());
        let desc = header.desc.as_deref().unwrap_or("no reason given");
        match refused::publish(RefusalKind::of_tcp(told, header.code, desc), server, desc) {
            Consequence::Resolve(failure) => {
                if let Some(sent) = self.sent.remove(at) {
                    self.refuse(sent.event, failure);
                }
                Answer::Resolved
            }
            Consequence::Reconnect(failure) => Answer::Over(Ended::Broken(failure)),
            Consequence::Wait(reason) => Answer::Refused(at, reason),
        }
    }
}
