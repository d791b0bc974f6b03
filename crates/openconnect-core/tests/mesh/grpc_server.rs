//! A gRPC server that does what the test says. Unless told otherwise it answers as EventMesh 1.x does: outcomes in attributes,
//! a publisher's heartbeat refused, no acknowledgements.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use openconnect_protocol::grpc::pb::cloud_event::cloud_event_attribute_value::Attr;
use openconnect_protocol::grpc::pb::consumer_service_server::{ConsumerService, ConsumerServiceServer};
use openconnect_protocol::grpc::pb::heartbeat_service_server::{HeartbeatService, HeartbeatServiceServer};
use openconnect_protocol::grpc::pb::publisher_service_server::{PublisherService, PublisherServiceServer};
use openconnect_protocol::grpc::{keys, pb, set_attr};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::within;

/// What one call is answered with.
#[derive(Clone)]
pub enum Reply {
    Code(i32),
    /// As `openconnect-mesh`: code and kind.
    Kind(i32, &'static str),
    /// An answer without an outcome.
    Nothing,
    /// No answer at all.
    Never,
    Status(Status),
}

#[derive(Default)]
struct Script {
    publishes: Mutex<VecDeque<Reply>>,
    publisher_heartbeats: Mutex<VecDeque<Reply>>,
    subscriber_heartbeats: Mutex<VecDeque<Reply>>,
    subscriptions: Mutex<VecDeque<Reply>>,
    /// Ids of the events that were published, also of those that were refused.
    seen: Mutex<Vec<String>>,
}

#[derive(Clone)]
struct Service(Arc<Script>, mpsc::Sender<Outgoing>);

/// The server's side of one stream.
pub type Outgoing = mpsc::Sender<Result<pb::CloudEvent, Status>>;

pub struct GrpcServer {
    script: Arc<Script>,
    streams: mpsc::Receiver<Outgoing>,
    port: u16,
}

impl GrpcServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (to, streams) = mpsc::channel(16);
        let script: Arc<Script> = Arc::default();
        let service = Service(Arc::clone(&script), to);
        let server = tonic::transport::Server::builder()
            .add_service(PublisherServiceServer::new(service.clone()))
            .add_service(ConsumerServiceServer::new(service.clone()))
            .add_service(HeartbeatServiceServer::new(service));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { script, streams, port }
    }

    pub fn url(&self) -> String {
        format!("grpc://127.0.0.1:{}", self.port)
    }

    /// What the next publishes are answered with; after them, success.
    pub fn publishes(&self, replies: &[Reply]) {
        self.script.publishes.lock().unwrap().extend(replies.iter().cloned());
    }

    pub fn publisher_heartbeats(&self, replies: &[Reply]) {
        self.script.publisher_heartbeats.lock().unwrap().extend(replies.iter().cloned());
    }

    pub fn subscriber_heartbeats(&self, replies: &[Reply]) {
        self.script.subscriber_heartbeats.lock().unwrap().extend(replies.iter().cloned());
    }

    pub fn subscriptions(&self, replies: &[Reply]) {
        self.script.subscriptions.lock().unwrap().extend(replies.iter().cloned());
    }

    /// Ids in the order in which they came.
    pub fn seen(&self) -> Vec<String> {
        self.script.seen.lock().unwrap().clone()
    }

    /// The next stream whose subscription was confirmed.
    pub async fn stream(&mut self) -> Outgoing {
        within("a stream", self.streams.recv()).await.unwrap()
    }
}

async fn reply(replies: &Mutex<VecDeque<Reply>>, usual: &str, mut answer: pb::CloudEvent) -> Result<pb::CloudEvent, Status> {
    let reply = replies.lock().unwrap().pop_front();
    match reply {
        None => set_attr(&mut answer, keys::STATUS_CODE, usual),
        Some(Reply::Code(code)) => set_attr(&mut answer, keys::STATUS_CODE, code.to_string()),
        Some(Reply::Kind(code, kind)) => {
            set_attr(&mut answer, keys::STATUS_CODE, code.to_string());
            set_attr(&mut answer, "openconnectrefusal", kind);
        }
        Some(Reply::Nothing) => {}
        Some(Reply::Never) => std::future::pending().await,
        Some(Reply::Status(status)) => return Err(status),
    }
    set_attr(&mut answer, keys::RESPONSE_MESSAGE, "as the server says");
    Ok(answer)
}

#[tonic::async_trait]
impl PublisherService for Service {
    async fn publish(&self, call: Request<pb::CloudEvent>) -> Result<Response<pb::CloudEvent>, Status> {
        self.0.seen.lock().unwrap().push(call.into_inner().id);
        reply(&self.0.publishes, "0", pb::CloudEvent::default()).await.map(Response::new)
    }

    async fn request_reply(&self, _: Request<pb::CloudEvent>) -> Result<Response<pb::CloudEvent>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn publish_one_way(&self, _: Request<pb::CloudEvent>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn batch_publish(&self, _: Request<pb::CloudEventBatch>) -> Result<Response<pb::CloudEvent>, Status> {
        panic!("EventMesh confirms a batch before it has stored anything: nobody may use it");
    }

    async fn batch_publish_one_way(&self, _: Request<pb::CloudEventBatch>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

#[tonic::async_trait]
impl HeartbeatService for Service {
    async fn heartbeat(&self, call: Request<pb::CloudEvent>) -> Result<Response<pb::CloudEvent>, Status> {
        let kind = call.into_inner().attributes.remove(keys::CLIENT_TYPE).and_then(|value| value.attr);
        let (replies, usual) = match kind {
            Some(Attr::CeInteger(2)) => (&self.0.subscriber_heartbeats, "0"),
            _ => (&self.0.publisher_heartbeats, "7"),
        };
        reply(replies, usual, pb::CloudEvent::default()).await.map(Response::new)
    }
}

#[tonic::async_trait]
impl ConsumerService for Service {
    async fn subscribe(&self, _: Request<pb::CloudEvent>) -> Result<Response<pb::CloudEvent>, Status> {
        Err(Status::unimplemented("not here"))
    }

    type subscribeStreamStream = Pin<Box<dyn Stream<Item = Result<pb::CloudEvent, Status>> + Send>>;

    async fn subscribe_stream(&self, call: Request<Streaming<pb::CloudEvent>>) -> Result<Response<Self::subscribeStreamStream>, Status> {
        let (to, events) = mpsc::channel(64);
        let (mut incoming, script, streams) = (call.into_inner(), Arc::clone(&self.0), self.1.clone());
        tokio::spawn(async move {
            while let Some(Ok(subscription)) = incoming.next().await {
                let answer = reply(&script.subscriptions, "0", subscription).await;
                let confirmed = answer
                    .as_ref()
                    .is_ok_and(|a| openconnect_protocol::grpc::attr(a, keys::STATUS_CODE) == Some("0"));
                let _ = to.send(answer).await;
                if confirmed {
                    let _ = streams.send(to.clone()).await;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(events))))
    }

    async fn unsubscribe(&self, call: Request<pb::CloudEvent>) -> Result<Response<pb::CloudEvent>, Status> {
        let mut answer = call.into_inner();
        set_attr(&mut answer, keys::STATUS_CODE, "0");
        Ok(Response::new(answer))
    }
}

/// An event as the server pushes it.
pub fn pushed(id: &str) -> pb::CloudEvent {
    let mut event = openconnect_protocol::grpc::from_event(&crate::event(id), "t");
    for (name, value) in [
        (keys::UNIQUE_ID, id),
        (keys::SEQ_NUM, id),
        (keys::PROTOCOL_DESC, "grpc-cloud-event"),
    ] {
        set_attr(&mut event, name, value);
    }
    event
}
