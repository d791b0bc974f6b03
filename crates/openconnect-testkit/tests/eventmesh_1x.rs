//! A server that answers over gRPC as EventMesh 1.x does: outcomes in attributes, no acknowledgements.
#![allow(clippy::unwrap_used, missing_docs)]

use std::pin::Pin;
use std::time::Duration;

use openconnect_protocol::grpc::pb::consumer_service_server::{ConsumerService, ConsumerServiceServer};
use openconnect_protocol::grpc::pb::heartbeat_service_server::{HeartbeatService, HeartbeatServiceServer};
use openconnect_protocol::grpc::{pb, set_attr};
use openconnect_testkit::connector::{Connector, merge};
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::receiver::Receiver;
use serde_json::{Value, json};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

struct EventMesh;

fn answer(mut call: pb::CloudEvent, code: &str) -> pb::CloudEvent {
    set_attr(&mut call, "statuscode", code);
    set_attr(&mut call, "responsemessage", "as EventMesh says");
    call
}

#[tonic::async_trait]
impl HeartbeatService for EventMesh {
    async fn heartbeat(&self, _: Request<pb::CloudEvent>) -> Result<Response<pb::CloudEvent>, Status> {
        // A publisher's heartbeat is refused.
        Ok(Response::new(answer(pb::CloudEvent::default(), "7")))
    }
}

#[tonic::async_trait]
impl ConsumerService for EventMesh {
    async fn subscribe(&self, _: Request<pb::CloudEvent>) -> Result<Response<pb::CloudEvent>, Status> {
        Err(Status::unimplemented("not here"))
    }

    type subscribeStreamStream = Pin<Box<dyn Stream<Item = Result<pb::CloudEvent, Status>> + Send>>;

    async fn subscribe_stream(&self, call: Request<Streaming<pb::CloudEvent>>) -> Result<Response<Self::subscribeStreamStream>, Status> {
        let echoes = call.into_inner().map(|call| call.map(|call| answer(call, "0")));
        Ok(Response::new(Box::pin(echoes)))
    }

    async fn unsubscribe(&self, call: Request<pb::CloudEvent>) -> Result<Response<pb::CloudEvent>, Status> {
        Ok(Response::new(answer(call.into_inner(), "0")))
    }
}

async fn sink(kit: &Kit, extra: Value) -> Connector {
    let address = free_address().unwrap();
    let server = tonic::transport::Server::builder()
        .add_service(HeartbeatServiceServer::new(EventMesh))
        .add_service(ConsumerServiceServer::new(EventMesh));
    tokio::spawn(server.serve(address));
    let receiver = Receiver::start().await.unwrap();
    let mut settings = json!({
        "mesh": { "url": format!("grpc://{address}"), "topic": "orders", "reconnect_max": "200ms" },
        "sink": { "url": receiver.url() },
    });
    merge(&mut settings, extra);
    Connector::prepare(kit, "openconnect-http-sink", "out", settings).unwrap()
}

/// What is pushed there is forgotten there: with the default requirement the sink does not start, and says what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_without_redelivery_is_refused_at_the_start() {
    let kit = Kit::new("eventmesh_1x_refused").unwrap();
    let refused = sink(&kit, json!({})).await.finish().await.unwrap();
    let text = refused.text();
    println!("{text}");
    assert_eq!(refused.code, Some(78), "{text}");
    for part in ["OC0410", "at-most-once", "delivery.require"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

/// Whoever accepts a loss says so, and gets a sink that runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_when_a_loss_is_accepted() {
    let kit = Kit::new("eventmesh_1x_accepted").unwrap();
    let mut sink = sink(&kit, json!({ "delivery": { "require": "at-most-once" } })).await;
    sink.run().await.unwrap();
    let code = sink.process().unwrap().terminate(Duration::from_secs(15)).await.unwrap();
    assert_eq!(code, Some(0), "{}", sink.log());
}
