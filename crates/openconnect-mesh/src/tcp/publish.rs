//! From frames to entries of the log.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use openconnect_protocol::frame::Command;
use openconnect_protocol::wire;

use super::acks::{Confirmations, Confirmed};
use super::answer;
use super::gathering::Gathering;
use super::head::{Head, Properties};
use super::outbox::Outbox;
use super::session::Session;
use crate::broker::ttl;
use crate::convert::MeshMessage;
use crate::log::record::{self, Kind, Request};
use crate::log::topic::{LATCHED, Publish};
use crate::refusal::Refusal;

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
            self.outbox.refuse(reply, &refusal, &head.seq);
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
        gathering.add(reply, header, |out| record::encode(seen.kind, None, &seen.key, &body, out));
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
        let gathering = Gathering::new(
            topic,
            Confirmations::new(self.many_acks),
            &self.outbox,
            &self.committing,
            &self.latch,
        );
        self.publishes.open.push(gathering);
        Ok(self.publishes.open.len() - 1)
    }

    /// Takes a request: it goes through the topic's log as any event, and its reply comes back here.
    pub(crate) async fn request(&mut self, head: &Head<'_>, body: &Bytes) {
        self.publishes.send();
        if let Err(refusal) = self.send_request(head, body).await {
            self.outbox.refuse(Command::ResponseToClient, &refusal, &head.seq);
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
                outbox.refuse(Command::ResponseToClient, &refusal, &seq);
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
            outbox.refuse(Command::ResponseToClient, &refusal, &seq);
        }
    }
}
