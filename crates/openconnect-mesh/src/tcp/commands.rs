//! What each command does.

use std::sync::Arc;

use bytes::Bytes;
use openconnect_protocol::extension;
use openconnect_protocol::frame::{Command, RawFrame};
use openconnect_protocol::refusal::RefusalKind;
use openconnect_protocol::session::{Subscription, SubscriptionItem, SubscriptionMode, SubscriptionType, UserAgent};

use super::acks;
use super::answer;
use super::head::Head;
use super::outbox::Push;
use super::session::{End, Session, Wake};
use crate::auth::{Credentials, User};
use crate::convert::{Form, json_text};
use crate::log::record::Kind;
use crate::refusal::Refusal;

/// Largest header of a frame.
const MAX_HEADER: usize = 64 << 10;
const NO_SESSION: &str = "java.lang.Exception: no session is found";
const NOT_SUB: &str = "java.lang.Exception: client purpose config is not sub";

impl Session {
    pub(crate) async fn handle(&mut self, raw: RawFrame, wake: &Wake) -> Result<(), End> {
        let RawFrame { header, body } = raw;
        if header.len() > MAX_HEADER {
            return Err(End::Garbage("the frame's header is too large".to_owned()));
        }
        let head: Head<'_> = match serde_json::from_slice(&header) {
            Ok(head) => head,
            Err(error) => {
                return Err(End::Garbage(format!("the frame's header can't be read: {error}")));
            }
        };
        if self.agent.is_none() && !matches!(head.cmd, Command::HelloRequest) {
            let reply = head.cmd.reply().unwrap_or(head.cmd);
            self.outbox
                .refuse(reply, &Refusal::new(RefusalKind::Session, NO_SESSION), &head.seq);
            return Ok(());
        }
        match head.cmd {
            Command::AsyncMessageToServer => {
                self.publish(&head, &header, &body, Command::AsyncMessageToServerAck).await;
            }
            Command::BroadcastMessageToServer => {
                self.publish(&head, &header, &body, Command::BroadcastMessageToServerAck).await;
            }
            Command::AsyncMessageToClientAck | Command::BroadcastMessageToClientAck | Command::RequestToClientAck => {
                if head.has_many() {
                    let seqs = acks::delivered(&body).map_err(|error| End::Garbage(format!("acknowledgements can't be read: {error}")))?;
                    self.acks.extend(seqs);
                } else if let Ok(seq) = head.seq.parse() {
                    self.acks.push(seq);
                }
            }
            Command::ResponseToClientAck | Command::ServerGoodbyeResponse => {}
            Command::RequestToServer => self.request(&head, &body).await,
            Command::ResponseToServer => self.response(&head, &body),
            _ => {
                // Everything else takes effect after what was sent before it.
                self.flush();
                return self.control(&head, &body, wake).await;
            }
        }
        Ok(())
    }

    async fn control(&mut self, head: &Head<'_>, body: &Bytes, wake: &Wake) -> Result<(), End> {
        let seq = &*head.seq;
        match head.cmd {
            Command::HelloRequest => return self.hello(head, body),
            Command::HeartbeatRequest => self.outbox.succeed(Command::HeartbeatResponse, seq),
            Command::SubscribeRequest => {
                let result = self.subscribe(body).await;
                self.answer_result(Command::SubscribeResponse, seq, result);
                wake.set(&self.memberships);
            }
            Command::ListenRequest => self.listen(seq, wake).await,
            Command::UnsubscribeRequest => {
                self.pending.clear();
                if self.holds {
                    // It finishes what it has, and acknowledges that until it goes.
                    self.memberships.iter().for_each(|m| m.group.retire(m.member));
                } else {
                    self.memberships.clear();
                    wake.set(&self.memberships);
                }
                self.outbox.succeed(Command::UnsubscribeResponse, seq);
            }
            Command::ClientGoodbyeRequest => {
                // The client closes; what it had not acknowledged goes to others already.
                self.memberships.clear();
                wake.set(&self.memberships);
                self.outbox.succeed(Command::ClientGoodbyeResponse, seq);
            }
            Command::RecommendRequest => {
                let refusal = Refusal::for_good("java.lang.Exception: registry enable config is false, not support");
                self.outbox.refuse(Command::RecommendResponse, &refusal, seq);
            }
            other => self.outbox.refuse(other, &Refusal::for_good("no handler for this command"), seq),
        }
        Ok(())
    }

    fn answer_result(&self, cmd: Command, seq: &str, result: Result<(), Refusal>) {
        match result {
            Ok(()) => self.outbox.succeed(cmd, seq),
            Err(refusal) => self.outbox.refuse(cmd, &refusal, seq),
        }
    }

    fn hello(&mut self, head: &Head<'_>, body: &Bytes) -> Result<(), End> {
        if self.agent.is_none() {
            match self.welcome(body) {
                Ok((agent, user)) => {
                    self.user = user;
                    self.many_acks = head.has_many();
                    self.unstamped = head.properties.as_ref().is_some_and(|p| p.openconnectstamps == extension::NONE);
                    self.holds = head.properties.as_ref().is_some_and(|p| p.openconnectholds == extension::TRUE);
                    tracing::debug!(peer = %self.peer, ?agent, "session opened");
                    self.agent = Some(agent);
                }
                Err(refusal) => {
                    tracing::warn!(peer = %self.peer, reason = refusal.reason, "HELLO refused");
                    self.outbox.refuse(Command::HelloResponse, &refusal, &head.seq);
                    return Err(End::AfterAnswers(refusal.reason));
                }
            }
        }
        let limit = self.broker.config.limits.max_event_bytes.to_string();
        let properties = [
            (extension::SERVER, crate::SERVER),
            (extension::REDELIVERS, extension::TRUE),
            (extension::ORDERED_REFUSAL, extension::TRUE),
            (extension::MAX_EVENT_BYTES, limit.as_str()),
            (extension::ACKS, extension::MANY),
        ];
        let header = answer::header(Command::HelloResponse, 0, Some("success"), &head.seq, &properties);
        self.outbox.put(|out| answer::append(&header, b"", out));
        Ok(())
    }

    fn welcome(&self, body: &Bytes) -> Result<(UserAgent, User), Refusal> {
        let agent: UserAgent = serde_json::from_slice(body).map_err(|e| Refusal::for_good(format!("java.lang.Exception: {e}")))?;
        let present = |text: &Option<String>| text.as_deref().is_some_and(|t| !t.trim().is_empty());
        if !present(&agent.version) {
            return Err(Refusal::for_good("java.lang.Exception: client version cannot be null"));
        }
        if !present(&agent.group) {
            return Err(Refusal::for_good("java.lang.Exception: client group cannot be null"));
        }
        if !matches!(agent.purpose.as_deref(), Some("pub" | "sub")) {
            return Err(Refusal::for_good("java.lang.Exception: client purpose config is error"));
        }
        let credentials = Credentials {
            name: agent.username.as_deref(),
            password: agent.password.as_deref(),
            token: agent.token.as_deref(),
        };
        let user = self.broker.gate.enter(credentials)?;
        Ok((agent, user))
    }

    fn is_subscriber(&self) -> bool {
        self.agent.as_ref().is_some_and(|a| a.purpose.as_deref() == Some("sub"))
    }

    fn group(&self) -> &str {
        self.agent.as_ref().and_then(|a| a.group.as_deref()).unwrap_or_default()
    }

    async fn subscribe(&mut self, body: &Bytes) -> Result<(), Refusal> {
        if !self.is_subscriber() {
            return Err(Refusal::for_good(NOT_SUB));
        }
        let subscription: Subscription = serde_json::from_slice(body)
            .map_err(|e| Refusal::for_good(format!("java.lang.NullPointerException: subscriptionInfo: {e}")))?;
        for item in subscription.topic_list {
            let most = self.broker.config.limits.max_subscriptions;
            let has = self.pending.iter().any(|p| p.topic == item.topic) || self.memberships.iter().any(|m| *m.topic.name == *item.topic);
            if !has && self.pending.len() + self.memberships.len() >= most {
                return Err(Refusal::for_good(format!(
                    "no subscription to `{}`: a session may have {most}",
                    item.topic
                )));
            }
            // A topic that cannot be had is told now, not at LISTEN.
            self.broker.topic_to_subscribe(&self.user, &item.topic, self.group()).await?;
            if self.listening {
                self.join(&item).await?;
            } else {
                self.pending.retain(|p| p.topic != item.topic);
                self.pending.push(item);
            }
        }
        Ok(())
    }

    async fn listen(&mut self, seq: &str, wake: &Wake) {
        if !self.is_subscriber() {
            return self.outbox.refuse(Command::ListenResponse, &Refusal::for_good(NOT_SUB), seq);
        }
        self.listening = true;
        // The answer comes before the first push.
        self.outbox.succeed(Command::ListenResponse, seq);
        for item in std::mem::take(&mut self.pending) {
            if let Err(refusal) = self.join(&item).await {
                tracing::warn!(peer = %self.peer, topic = item.topic, reason = refusal.reason, "could not subscribe");
            }
        }
        wake.set(&self.memberships);
    }

    async fn join(&mut self, item: &SubscriptionItem) -> Result<(), Refusal> {
        let broadcast = item.mode == SubscriptionMode::Broadcasting;
        let command = match (broadcast, item.kind) {
            (true, _) => Command::BroadcastMessageToClient,
            (false, SubscriptionType::Sync) => Command::RequestToClient,
            (false, _) => Command::AsyncMessageToClient,
        };
        self.memberships.retain(|m| *m.topic.name != *item.topic);
        let push = Push {
            outbox: Arc::clone(&self.outbox),
            asking: Arc::clone(&self.asking),
            command,
            holds: self.holds,
            stamp: (!self.unstamped).then(|| self.stamp()),
        };
        let group = self.group();
        let topic = self.broker.topic_to_subscribe(&self.user, &item.topic, group).await?;
        let membership = self.broker.subscribe(topic, group, broadcast, self.id, Arc::new(push)).await?;
        self.memberships.push(membership);
        Ok(())
    }

    /// The extensions that EventMesh 1.x adds to what it pushes to this session.
    fn stamp(&self) -> Arc<[u8]> {
        let mut out = bytes::BytesMut::new();
        let ip = self.peer.ip().to_string();
        let agent = self.agent.as_ref();
        let text = |value: Option<&Option<String>>| value.and_then(|v| v.clone()).unwrap_or_default();
        for (name, value) in [
            ("rsp0sys", text(agent.map(|a| &a.subsystem))),
            ("rsp0group", text(agent.map(|a| &a.group))),
            ("rsp0idc", text(agent.map(|a| &a.idc))),
            ("rsp0ip", ip),
            ("protocoltype", "cloudevents".to_owned()),
            ("protocolversion", "1.0".to_owned()),
            ("protocoldesc", "tcp".to_owned()),
        ] {
            out.extend_from_slice(b",");
            json_text(name, &mut out);
            out.extend_from_slice(b":");
            json_text(&value, &mut out);
        }
        out.to_vec().into()
    }

    /// A reply goes to whoever asked; nobody is told when that one is gone.
    fn response(&self, head: &Head<'_>, body: &Bytes) {
        #[derive(serde::Deserialize, Default)]
        struct Reply {
            #[serde(default)]
            id: Option<String>,
            #[serde(default)]
            openconnectseq: Option<String>,
        }
        let reply: Reply = serde_json::from_slice(body).unwrap_or_default();
        let is_message = head.properties.as_ref().is_none_or(|p| p.protocoltype != "cloudevents");
        let kind = if is_message { Kind::Message } else { Kind::CloudEvent };
        let seq = reply.openconnectseq.and_then(|s| s.parse().ok());
        let request = self.asking.take(seq, reply.id.as_deref().unwrap_or_default());
        let form = Form { kind, body: body.clone() };
        if !request.is_some_and(|id| self.broker.reply(id, form)) {
            tracing::debug!(peer = %self.peer, "a reply that nobody waits for");
        }
    }
}
