//! Subscribing over a stream, unsubscribing and heartbeats.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use openconnect_protocol::extension;
use openconnect_protocol::grpc::{self, StatusCode, keys, pb};
use openconnect_protocol::session::{SubscriptionItem, SubscriptionMode};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::answer::{Failure, answer, enter};
use super::stream::{Identity, Outgoing, Push, StreamState, Streams};
use crate::broker::Broker;
use crate::convert::Form;
use crate::lock::locked;
use crate::log::record::Kind;
use crate::refusal::Refusal;

pub(crate) struct Consumer {
    pub(crate) broker: Arc<Broker>,
    pub(crate) streams: Arc<Streams>,
}

pub(crate) struct Heartbeat {
    pub(crate) broker: Arc<Broker>,
    pub(crate) streams: Arc<Streams>,
}

fn text(call: &pb::CloudEvent) -> &[u8] {
    match &call.data {
        Some(pb::cloud_event::Data::TextData(text)) => text.as_bytes(),
        Some(pb::cloud_event::Data::BinaryData(bytes)) => bytes,
        _ => b"",
    }
}

fn items(call: &pb::CloudEvent) -> Result<Vec<SubscriptionItem>, Failure> {
    let items: Vec<SubscriptionItem> =
        serde_json::from_slice(text(call)).map_err(|e| Failure::body(format!("the subscription can't be read: {e}")))?;
    if items.is_empty() || grpc::attr(call, keys::CONSUMER_GROUP).is_none_or(str::is_empty) {
        return Err(Failure::body("a subscription needs a consumer group and topics"));
    }
    Ok(items)
}

/// Ends a stream that does not subscribe in time.
async fn expect_subscription(state: Arc<StreamState>) {
    let limit = state.broker.config.limits.handshake_timeout;
    tokio::select! {
        () = tokio::time::sleep(limit) => {}
        () = state.over.cancelled() => return,
    }
    if !state.subscribed() {
        tracing::debug!("a stream subscribed to nothing in time");
        state.end();
    }
}

/// Handles what the client sends until one side ends.
async fn read(state: Arc<StreamState>, mut incoming: Streaming<pb::CloudEvent>) {
    loop {
        let message = tokio::select! {
            message = incoming.message() => message,
            () = state.over.cancelled() => break,
        };
        match message {
            Ok(Some(message)) => {
                if !handle(&state, message).await {
                    break;
                }
            }
            // As EventMesh does: clients that close end their side only, and wait for the server to end the other.
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(%error, "a subscriber's stream failed");
                break;
            }
        }
    }
    state.end();
}

/// False when the stream is to end.
async fn handle(state: &Arc<StreamState>, message: pb::CloudEvent) -> bool {
    match grpc::attr(&message, keys::SUB_MESSAGE_TYPE) {
        Some("subscription_ack") => {
            let seqs = grpc::attr(&message, extension::SEQ).unwrap_or_default();
            state.acknowledge(seqs.split(',').filter_map(|seq| seq.parse().ok()).collect());
            true
        }
        Some("subscription_reply") => {
            reply(state, message);
            true
        }
        _ => match subscribe(state, &message).await {
            Ok(()) => {
                state.echo(message, Ok("subscribe success"));
                true
            }
            Err(failure) => {
                tracing::warn!(reason = failure.refusal.reason, "subscription refused");
                state.echo(message, Err(&failure));
                false
            }
        },
    }
}

async fn subscribe(state: &Arc<StreamState>, call: &pb::CloudEvent) -> Result<(), Failure> {
    let user = enter(&state.broker, call)?;
    let items = items(call)?;
    let most = state.broker.config.limits.max_subscriptions;
    let says = |name| grpc::attr(call, name) == Some("true");
    state.acknowledges.store(says(extension::ACKNOWLEDGES), Ordering::Relaxed);
    state.holds.store(says(extension::HOLDS), Ordering::Relaxed);
    *locked(&state.identity) = Identity::of(user.clone(), call);
    let group = grpc::attr(call, keys::CONSUMER_GROUP).unwrap_or_default();
    for item in items {
        if state.has_topic(&item.topic) {
            continue;
        }
        if locked(&state.memberships).len() >= most {
            let text = format!("no subscription to `{}`: a stream may have {most}", item.topic);
            return Err(Failure::refused(Refusal::for_good(text), StatusCode::SUBSCRIBE_ERROR));
        }
        let broadcast = item.mode == SubscriptionMode::Broadcasting;
        let outlet = Arc::new(Push(Arc::clone(state)));
        let refused = |r| Failure::refused(r, StatusCode::SUBSCRIBE_ERROR);
        let topic = state.broker.topic_to_subscribe(&user, &item.topic, group).await.map_err(refused)?;
        let membership = state
            .broker
            .subscribe(topic, group, broadcast, state.id, outlet)
            .await
            .map_err(refused)?;
        locked(&state.memberships).push(membership);
    }
    if state.over.is_cancelled() {
        // The client went while this was under way.
        state.end();
    }
    Ok(())
}

fn reply(state: &StreamState, message: pb::CloudEvent) {
    let seq = grpc::attr(&message, extension::SEQ).and_then(|s| s.parse().ok());
    let request = state.asking.take(seq, &message.id);
    let form = Form {
        kind: Kind::Grpc,
        body: message.encode_to_vec().into(),
    };
    if !request.is_some_and(|id| state.broker.reply(id, form)) {
        tracing::debug!("a reply that nobody waits for");
    }
}

#[tonic::async_trait]
impl pb::consumer_service_server::ConsumerService for Consumer {
    async fn subscribe(&self, _: Request<pb::CloudEvent>) -> Result<Response<pb::CloudEvent>, Status> {
        let reason = "this server delivers over streams only, not to web addresses";
        let failure = Failure {
            code: StatusCode::REJECTED,
            refusal: Refusal::for_good(reason),
        };
        Ok(Response::new(answer(&self.broker, Err(failure))))
    }

    type subscribeStreamStream = Outgoing;

    async fn subscribe_stream(&self, call: Request<Streaming<pb::CloudEvent>>) -> Result<Response<Outgoing>, Status> {
        let state = StreamState::open(&self.broker, &self.streams);
        self.broker.tasks.spawn(expect_subscription(Arc::clone(&state)));
        self.broker.tasks.spawn(read(Arc::clone(&state), call.into_inner()));
        Ok(Response::new(Outgoing::new(state)))
    }

    async fn unsubscribe(&self, call: Request<pb::CloudEvent>) -> Result<Response<pb::CloudEvent>, Status> {
        let call = call.into_inner();
        let outcome = enter(&self.broker, &call)
            .and_then(|user| Ok((user, items(&call)?)))
            .map(|(user, items)| {
                for stream in self.streams.of(&Identity::of(user, &call)) {
                    let left = {
                        let mut memberships = locked(&stream.memberships);
                        memberships.retain(|m| !items.iter().any(|i| i.topic == *m.topic.name));
                        memberships.len()
                    };
                    if left == 0 {
                        stream.end();
                    }
                }
                "success unsubscribe success".to_owned()
            });
        Ok(Response::new(answer(&self.broker, outcome)))
    }
}

impl Heartbeat {
    fn beat(&self, call: &pb::CloudEvent) -> Result<String, Failure> {
        #[derive(serde::Deserialize)]
        struct Item {
            topic: String,
        }
        let user = enter(&self.broker, call)?;
        let items: Vec<Item> =
            serde_json::from_slice(text(call)).map_err(|e| Failure::body(format!("the heartbeat can't be read: {e}")))?;
        let streams = self.streams.of(&Identity::of(user, call));
        match items.iter().find(|i| !streams.iter().any(|s| s.has_topic(&i.topic))) {
            None => Ok("success heartbeat success".to_owned()),
            Some(item) => Err(Failure::new(StatusCode::RESUBSCRIBE, format!("not subscribed: `{}`", item.topic))),
        }
    }
}

#[tonic::async_trait]
impl pb::heartbeat_service_server::HeartbeatService for Heartbeat {
    async fn heartbeat(&self, call: Request<pb::CloudEvent>) -> Result<Response<pb::CloudEvent>, Status> {
        let outcome = self.beat(&call.into_inner());
        Ok(Response::new(answer(&self.broker, outcome)))
    }
}
