//! From frames to entries of the log. Publishes of one buffer are gathered by topic and handed to it together; their
//! answers are encoded beforehand and only have to be appended once the commit is done.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use openconnect_protocol::extension::MANY;
use openconnect_protocol::frame::Command;
use openconnect_protocol::wire;
use serde::Deserialize;

use super::acks::{Confirmations, Confirmed};
use super::answer;
use super::outbox::Outbox;
use super::session::{Committing, Session, refuse};
use crate::broker::ttl;
use crate::convert::MeshMessage;
use crate::log::record::{self, Kind, Request};
use crate::log::topic::{LATCHED, Publish, Refusal, Topic};

/// What is looked at in a frame's header.
#[derive(Deserialize)]
pub(crate) struct Head<'a> {
    pub(crate) cmd: Command,
    #[serde(borrow, default, deserialize_with = "seq")]
    pub(crate) seq: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) properties: Option<Properties<'a>>,
}

fn seq<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Cow<'de, str>, D::Error> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    Ok(Option::<Text<'de>>::deserialize(deserializer)?.map_or(Cow::Borrowed(""), |t| t.0))
}

/// The properties that a publish must have, and whether there are others.
#[derive(Deserialize)]
pub(crate) struct Properties<'a> {
    #[serde(borrow, default)]
    pub(crate) protocoltype: Cow<'a, str>,
    #[serde(borrow, default)]
    protocolversion: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) openconnectholds: Cow<'a, str>,
    #[serde(borrow, default)]
    openconnectacks: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) openconnectstamps: Cow<'a, str>,
}

impl Head<'_> {
    /// Does this tell of acknowledgements for many?
    pub(crate) fn has_many(&self) -> bool {
        self.properties.as_ref().is_some_and(|p| p.openconnectacks == MANY)
    }
}

/// Publishes of one read, by topic.
#[derive(Default)]
pub(crate) struct Publishes {
    open: Vec<Gathering>,
}

struct Gathering {
    topic: Arc<Topic>,
    buffer: BytesMut,
    entries: Vec<Bytes>,
    bytes: usize,
    confirmations: Confirmations,
    /// Command and sequence number of each, for the case that they are refused.
    asked: Vec<(Command, Bytes)>,
    outbox: Arc<Outbox>,
    committing: Arc<Committing>,
    latch: Arc<std::sync::atomic::AtomicBool>,
}

impl Publishes {
    pub(crate) fn send(&mut self) {
        for gathered in self.open.drain(..) {
            gathered.send();
        }
    }
}

impl Gathering {
    fn new(topic: Arc<Topic>, session: &Session) -> Self {
        Self {
            topic,
            buffer: BytesMut::with_capacity(4 << 10),
            entries: Vec::new(),
            bytes: 0,
            confirmations: Confirmations::new(session.many_acks),
            asked: Vec::new(),
            outbox: Arc::clone(&session.outbox),
            committing: Arc::clone(&session.committing),
            latch: Arc::clone(&session.latch),
        }
    }

    fn send(self) {
        let Self {
            topic,
            entries,
            bytes,
            confirmations,
            asked,
            outbox,
            committing,
            latch,
            ..
        } = self;
        committing.add(bytes);
        let done = Box::new(move |result: Result<(), Refusal>| {
            match result {
                Ok(()) => outbox.put(|out| confirmations.append_to(out)),
                Err(refusal) => outbox.put(|out| {
                    for (at, (cmd, header)) in asked.iter().enumerate() {
                        let seq = serde_json::from_slice::<Head<'_>>(header).map(|h| h.seq).unwrap_or_default();
                        if at > 0 && refusal.kind.may_pass() {
                            answer::refusal(*cmd, &Refusal::passing(LATCHED), &seq, out);
                        } else {
                            answer::refusal(*cmd, &refusal, &seq, out);
                        }
                    }
                }),
            }
            committing.done(bytes);
        });
        topic.publish(Publish {
            entries,
            bytes,
            latch: Some(latch),
            done,
        });
    }
}

/// What a server must know of the event.
struct Seen<'a> {
    kind: Kind,
    topic: Cow<'a, str>,
    key: Cow<'a, str>,
    id: Cow<'a, str>,
    source: Cow<'a, str>,
    ty: Cow<'a, str>,
    ttl_ms: u64,
}

const DEFAULT_TTL_MS: u64 = 3000;

fn look<'a>(head: &'a Head<'_>, body: &'a [u8]) -> Result<Seen<'a>, String> {
    let properties = head.properties.as_ref();
    match properties.map_or("", |p| &p.protocoltype) {
        "cloudevents" => look_at_event(properties, body),
        "" | "eventmeshmessage" => look_at_message(head, body),
        other => Err(format!(
            "java.lang.IllegalArgumentException: Cannot find the Protocol adaptor: {other}"
        )),
    }
}

fn look_at_event<'a>(properties: Option<&Properties<'_>>, body: &'a [u8]) -> Result<Seen<'a>, String> {
    let version = properties.map_or("", |p| &p.protocolversion);
    if !matches!(version, "" | "1.0" | "0.3") {
        return Err(format!("ProtocolHandleException: Unsupported protocolVersion: {version}"));
    }
    if body.first() != Some(&b'{') {
        return Err("malformed event: not a JSON object".to_owned());
    }
    let peek = wire::peek(body).map_err(|e| format!("malformed event: {e}"))?;
    for (name, value) in [("id", &peek.id), ("source", &peek.source), ("type", &peek.ty)] {
        if value.is_empty() {
            return Err(format!("malformed event: the attribute `{name}` is missing or empty"));
        }
    }
    let ttl_ms = match &peek.ttl {
        Some(serde_json::Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_u64(),
        None => None,
    };
    Ok(Seen {
        kind: Kind::CloudEvent,
        topic: peek.subject,
        key: peek.partitionkey.unwrap_or_default(),
        id: peek.id,
        source: peek.source,
        ty: peek.ty,
        ttl_ms: ttl_ms.unwrap_or(DEFAULT_TTL_MS),
    })
}

fn look_at_message<'a>(head: &'a Head<'_>, body: &'a [u8]) -> Result<Seen<'a>, String> {
    let message: MeshMessage = serde_json::from_slice(body).map_err(|e| format!("malformed message: {e}"))?;
    let key = message.property("partitionkey").unwrap_or_default().to_owned();
    let ttl = message.property("ttl").and_then(|t| t.parse().ok());
    Ok(Seen {
        kind: Kind::Message,
        topic: message.topic.unwrap_or_default().into(),
        key: key.into(),
        id: Cow::Borrowed(&head.seq),
        source: "/".into(),
        ty: "eventmeshmessage".into(),
        ttl_ms: ttl.unwrap_or(DEFAULT_TTL_MS),
    })
}

fn trim(body: &Bytes) -> Bytes {
    let trimmed = body.trim_ascii();
    if trimmed.len() == body.len() {
        body.clone()
    } else {
        body.slice_ref(trimmed)
    }
}

impl Session {
    /// Takes a publish; its answer comes after the commit, or at once when it is refused.
    pub(crate) async fn publish(&mut self, head: &Head<'_>, header: &Bytes, body: &Bytes, reply: Command) {
        if let Err(refusal) = self.gather(head, header, body, reply).await {
            // Answers keep their order: what came before is handed on first.
            self.publishes.send();
            if refusal.kind.may_pass() {
                self.latch.store(true, Ordering::Release);
            }
            refuse(&self.outbox, reply, &refusal, &head.seq);
        }
    }

    fn check(&self, body: &Bytes) -> Result<(), Refusal> {
        if self.broker.stopping.load(Ordering::Acquire) {
            return Err(Refusal::stopping());
        }
        if self.latch.load(Ordering::Acquire) {
            return Err(Refusal::passing(LATCHED));
        }
        let limit = self.broker.config.limits.max_event_bytes;
        if body.len() as u64 > limit {
            return Err(Refusal::too_large(limit));
        }
        Ok(())
    }

    async fn gather(&mut self, head: &Head<'_>, header: &Bytes, body: &Bytes, reply: Command) -> Result<(), Refusal> {
        self.check(body)?;
        let body = trim(body);
        let seen = look(head, &body).map_err(Refusal::for_good)?;
        let at = self.gathering(&seen.topic).await?;
        let Some(gathering) = self.publishes.open.get_mut(at) else {
            return Ok(());
        };
        let entry_bytes = {
            let start = gathering.buffer.len();
            record::encode(seen.kind, None, &seen.key, &body, &mut gathering.buffer);
            gathering.buffer.len() - start
        };
        gathering.entries.push(gathering.buffer.split_to(entry_bytes).freeze());
        gathering.bytes += entry_bytes;
        gathering.asked.push((reply, header.clone()));
        let event = Confirmed {
            id: &seen.id,
            source: &seen.source,
            ty: &seen.ty,
            topic: &seen.topic,
        };
        gathering.confirmations.add(reply, &head.seq, &event);
        Ok(())
    }

    async fn gathering(&mut self, topic: &str) -> Result<usize, Refusal> {
        if let Some(at) = self.publishes.open.iter().position(|g| &*g.topic.name == topic) {
            return Ok(at);
        }
        let topic = self.broker.topic_to_publish(&self.user, topic).await?;
        let gathering = Gathering::new(topic, self);
        self.publishes.open.push(gathering);
        Ok(self.publishes.open.len() - 1)
    }

    /// Takes a request: it goes through the topic's log as any event, and its reply comes back here.
    pub(crate) async fn request(&mut self, head: &Head<'_>, body: &Bytes) {
        self.publishes.send();
        if let Err(refusal) = self.send_request(head, body).await {
            refuse(&self.outbox, Command::ResponseToClient, &refusal, &head.seq);
        }
    }

    async fn send_request(&mut self, head: &Head<'_>, body: &Bytes) -> Result<(), Refusal> {
        self.check(body)?;
        let body = trim(body);
        let seen = look(head, &body).map_err(Refusal::for_good)?;
        let topic = self.broker.topic_to_publish(&self.user, &seen.topic).await?;
        let limit = ttl(seen.ttl_ms);
        let (request, reply) = self.broker.open_request(limit)?;
        let mut entry = BytesMut::new();
        record::encode(seen.kind, Some(request), &seen.key, &body, &mut entry);
        let entry = entry.freeze();
        let (outbox, seq) = (Arc::clone(&self.outbox), head.seq.to_string());
        let done = Box::new(move |result: Result<(), Refusal>| {
            if let Err(refusal) = result {
                refuse(&outbox, Command::ResponseToClient, &refusal, &seq);
            }
        });
        let bytes = entry.len();
        topic.publish(Publish {
            entries: vec![entry],
            bytes,
            latch: None,
            done,
        });
        let (broker, outbox, seq) = (Arc::clone(&self.broker), Arc::clone(&self.outbox), head.seq.to_string());
        let wait = wait_for_reply(broker, outbox, seq, topic.name.to_string(), request, reply, limit);
        self.broker.tasks.spawn(wait);
        Ok(())
    }
}

async fn wait_for_reply(
    broker: Arc<crate::broker::Broker>,
    outbox: Arc<Outbox>,
    seq: String,
    topic: String,
    request: Request,
    reply: tokio::sync::oneshot::Receiver<crate::convert::Form>,
    limit: std::time::Duration,
) {
    let got = tokio::select! {
        got = tokio::time::timeout(limit, reply) => got,
        () = broker.stop.cancelled() => return,
    };
    broker.close_request(request.id);
    let Ok(Ok(form)) = got else {
        // As EventMesh does: the requester's own timer ends its wait.
        tracing::debug!(topic, "a request got no reply in time");
        return;
    };
    match form.to_tcp(&topic) {
        Ok((body, protocol)) => {
            let header = answer::header(Command::ResponseToClient, 0, Some("success"), &seq, &[("protocoltype", protocol)]);
            outbox.put(|out| answer::append(&header, &body, out));
        }
        Err(error) => {
            let refusal = Refusal::for_good(format!("the reply cannot be carried over TCP: {error}"));
            refuse(&outbox, Command::ResponseToClient, &refusal, &seq);
        }
    }
}
