//! One gRPC session: a channel over one connection, the attributes that every call carries, heartbeats.

use std::sync::Arc;
use std::time::Duration;

use cloudevents::{AttributesReader, Event};
use hyper_util::rt::TokioIo;
use openconnect_protocol::EventError;
use openconnect_protocol::extension;
use openconnect_protocol::grpc::pb::cloud_event::cloud_event_attribute_value::Attr;
use openconnect_protocol::grpc::pb::heartbeat_service_client::HeartbeatServiceClient;
use openconnect_protocol::grpc::{self, StatusCode, attr, keys, pb, set_attr};
use openconnect_protocol::refusal::RefusalKind;
use prost::Message as _;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::dialer::Dialer;
use super::refused::shorten;
use super::route::Route;
use super::url::Server;
use super::{Capabilities, refused};
use crate::codes;
use crate::failure::Failure;

/// The largest message taken or sent, as large as the largest TCP frame.
pub(super) const MAX_MESSAGE: usize = 16 << 20;
/// Milliseconds; demanded on every publish, used by the server for requests only.
const TTL: &str = "4000";

/// The event of a body that [`Dialer::grpc_body`] made; nothing is left of what the call carried beside it.
pub(super) fn decode(body: &[u8]) -> Result<Event, EventError> {
    let message = pb::CloudEvent::decode(body).map_err(|e| EventError::Data(e.into()))?;
    grpc::to_event(message)
}

/// Whose heartbeat it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    Publisher,
    Subscriber,
}

/// A channel whose server has answered a heartbeat.
pub(super) struct GrpcSession {
    pub(super) dialer: Arc<Dialer>,
    pub(super) channel: Channel,
    pub(super) server: String,
    pub(super) capabilities: Capabilities,
    /// A batch is confirmed when all of it is on the disk. EventMesh 1.x confirms a batch before it stores anything.
    pub(super) durable_batch: bool,
    /// The largest event that the server takes, when it told.
    pub(super) max_event_bytes: usize,
}

impl Dialer {
    /// Sets up a gRPC session with the first server on the route that answers.
    pub(super) async fn dial_grpc(self: &Arc<Self>, route: &mut Route) -> Result<GrpcSession, Failure> {
        let candidates = self.candidates(route);
        self.first(route, &candidates, |server| self.grpc_session(server)).await
    }

    /// Sets up a gRPC session with this server.
    async fn grpc_session(self: &Arc<Self>, server: &Server) -> Result<GrpcSession, Failure> {
        // The channel gets this connection and no other: when it breaks, the session ends, and another server is tried.
        let mut socket = Some(self.socket(server, &[b"h2"]).await?);
        let once = tower::service_fn(move |_| {
            let socket = socket.take().map(TokioIo::new);
            std::future::ready(socket.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)))
        });
        let unusable = |e: tonic::transport::Error| {
            Failure::retryable(codes::MESH_UNREACHABLE, format!("{server} can't be reached over gRPC")).because(e)
        };
        let channel = Endpoint::from_shared(format!("http://{server}"))
            .map_err(unusable)?
            .connect_with_connector(once)
            .await
            .map_err(unusable)?;
        let mut session = GrpcSession {
            dialer: Arc::clone(self),
            channel,
            server: server.to_string(),
            capabilities: super::assumed(true),
            durable_batch: false,
            max_event_bytes: 4 << 20,
        };
        let answer = session.heartbeat(Client::Publisher, "[]").await?;
        session.learn(&answer);
        Ok(session)
    }

    /// Adds what EventMesh demands on every call. User name and password must not be empty there, whether it checks or not.
    pub(super) fn identify(&self, call: &mut pb::CloudEvent) {
        let pid = self.pid.to_string();
        let password = self.password.as_ref().map_or("none", |p| p.expose());
        for (name, value) in [
            (keys::ENV, "env"),
            (keys::IDC, "default"),
            (keys::SYS, "openconnect"),
            (keys::IP, "127.0.0.1"),
            (keys::PID, &pid),
            (keys::LANGUAGE, "RUST"),
            (keys::USERNAME, self.username.as_deref().unwrap_or("none")),
            (keys::PASSWD, password),
            (keys::PROTOCOL_TYPE, "cloudevents"),
            (keys::PROTOCOL_VERSION, "1.0"),
            (keys::PROTOCOL_DESC, "grpc-cloud-event"),
        ] {
            set_attr(call, name, value);
        }
    }

    /// An event as it is published, encoded. The same id on every attempt, so that consumers can tell repeats.
    pub(super) fn grpc_body(&self, topic: &str, event: &Event) -> Vec<u8> {
        let mut message = grpc::from_event(event, topic);
        self.identify(&mut message);
        for (name, value) in [
            (keys::PRODUCER_GROUP, self.group()),
            (keys::UNIQUE_ID, event.id()),
            (keys::SEQ_NUM, event.id()),
            (keys::TTL, TTL),
        ] {
            set_attr(&mut message, name, value);
        }
        message.encode_to_vec()
    }

    /// A call about subscriptions: `items` is JSON.
    pub(super) fn subscription_call(&self, items: &str) -> pb::CloudEvent {
        let mut call = pb::CloudEvent {
            id: uuid::Uuid::new_v4().to_string(),
            source: "/".into(),
            spec_version: "1.0".into(),
            r#type: "org.apache.eventmesh".into(),
            data: Some(pb::cloud_event::Data::TextData(items.into())),
            ..Default::default()
        };
        self.identify(&mut call);
        set_attr(&mut call, keys::DATA_CONTENT_TYPE, "application/json");
        set_attr(&mut call, keys::CONSUMER_GROUP, self.group());
        call
    }
}

impl GrpcSession {
    /// What the answer tells about the server. EventMesh 1.x tells nothing.
    pub(super) fn learn(&mut self, answer: &pb::CloudEvent) {
        let told = |name| attr(answer, name) == Some("true");
        self.capabilities.redelivers = told(extension::REDELIVERS);
        self.capabilities.acknowledges = self.capabilities.redelivers;
        self.durable_batch = told(extension::DURABLE_BATCH);
        self.capabilities.ordered_refusal = self.durable_batch;
        if let Some(server) = attr(answer, extension::SERVER) {
            self.capabilities.server = server.chars().take(80).collect();
        }
        if let Some(limit) = attr(answer, extension::MAX_EVENT_BYTES).and_then(|n| n.parse().ok()) {
            self.max_event_bytes = limit;
        }
    }

    /// Shows that both sides are there. EventMesh 1.x refuses a publisher's heartbeat, which shows it as well.
    pub(super) async fn heartbeat(&self, client: Client, items: &str) -> Result<pb::CloudEvent, Failure> {
        let mut call = self.dialer.subscription_call(items);
        let kind = if client == Client::Publisher { 1 } else { 2 };
        grpc::put(&mut call, keys::CLIENT_TYPE, Attr::CeInteger(kind));
        let mut heart = HeartbeatServiceClient::new(self.channel.clone());
        let answer = within(self.dialer.request_timeout, &self.server, heart.heartbeat(call)).await?;
        match StatusCode::of(&answer) {
            Some(StatusCode::ACL_REFUSAL | StatusCode::REJECTED) => Err(self.refused(&answer)),
            Some(StatusCode::RESUBSCRIBE) if client == Client::Subscriber => Err(Failure::retryable(
                codes::SENT_AWAY,
                format!("{} no longer knows the subscription", self.server),
            )),
            Some(_) => Ok(answer),
            None => Err(Failure::retryable(
                codes::SESSION_BROKEN,
                format!("{} answered a heartbeat without a status", self.server),
            )),
        }
    }

    fn refused(&self, answer: &pb::CloudEvent) -> Failure {
        refused::session(RefusalKind::of_grpc(answer), &self.server, reason(answer))
    }
}

/// The server's text for its outcome.
pub(super) fn reason(answer: &pb::CloudEvent) -> &str {
    attr(answer, keys::RESPONSE_MESSAGE).unwrap_or("no reason given")
}

/// Waits for a unary call, bounded.
pub(super) async fn within<T>(
    limit: Duration,
    server: &str,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(call_failed(server, &status)),
        Err(_) => Err(Failure::retryable(
            codes::NO_ANSWER,
            format!("{server} did not answer within {limit:?}"),
        )),
    }
}

/// What a gRPC status means; EventMesh itself tells its outcomes in attributes.
pub(super) fn call_failed(server: &str, status: &Status) -> Failure {
    let text = shorten(status.message());
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => {
            Failure::fatal(codes::SESSION_REFUSED, format!("{server} refused the call: {text}"))
        }
        code => Failure::retryable(codes::SESSION_BROKEN, format!("the session with {server} broke: {code}: {text}")),
    }
}
