//! Conversations over gRPC.

use std::collections::HashMap;

use openconnect_protocol::grpc::pb::consumer_service_client::ConsumerServiceClient;
use openconnect_protocol::grpc::pb::heartbeat_service_client::HeartbeatServiceClient;
use openconnect_protocol::grpc::pb::publisher_service_client::PublisherServiceClient;
use openconnect_protocol::grpc::{StatusCode, attr, keys, pb, to_event};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::conversations::{Line, What};
use super::{Compared, WAIT, mesh};

/// One recorded call, made to the mesh.
enum Call {
    Unary(pb::CloudEvent),
    Stream(mpsc::Sender<pb::CloudEvent>, Streaming<pb::CloudEvent>, Vec<pb::CloudEvent>),
}

async fn unary(method: &str, bytes: &[u8], channel: &Channel) -> pb::CloudEvent {
    let mut publisher = PublisherServiceClient::new(channel.clone());
    let event = || pb::CloudEvent::decode(bytes).unwrap();
    match method {
        "publish" => publisher.publish(event()).await,
        "requestReply" => publisher.request_reply(event()).await,
        "batchPublish" => publisher.batch_publish(pb::CloudEventBatch::decode(bytes).unwrap()).await,
        "heartbeat" => HeartbeatServiceClient::new(channel.clone()).heartbeat(event()).await,
        "unsubscribe" => ConsumerServiceClient::new(channel.clone()).unsubscribe(event()).await,
        other => panic!("no such method: {other}"),
    }
    .unwrap()
    .into_inner()
}

fn is_answer(message: &pb::CloudEvent) -> bool {
    attr(message, keys::STATUS_CODE).is_some() && attr(message, keys::UNIQUE_ID).is_none()
}

/// The mesh's counterpart of a message that EventMesh sent on a stream: an answer, or the same event.
async fn counterpart(
    theirs: &pb::CloudEvent,
    stream: &mut Streaming<pb::CloudEvent>,
    came: &mut Vec<pb::CloudEvent>,
) -> Option<pb::CloudEvent> {
    let fits = |ours: &pb::CloudEvent| is_answer(ours) == is_answer(theirs) && ours.id == theirs.id;
    let until = tokio::time::Instant::now() + WAIT;
    loop {
        if let Some(at) = came.iter().position(fits) {
            return Some(came.remove(at));
        }
        let message = tokio::time::timeout_at(until, stream.message()).await.ok()?;
        came.push(message.ok()??);
    }
}

fn same(theirs: &pb::CloudEvent, ours: &pb::CloudEvent) -> bool {
    let outcome = attr(theirs, keys::STATUS_CODE).is_some();
    if outcome {
        StatusCode::of(theirs) == StatusCode::of(ours)
    } else {
        to_event(theirs.clone()).unwrap() == to_event(ours.clone()).unwrap()
    }
}

pub async fn replay(lines: &[&Line], compared: &mut Compared) {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir).await;
    let address = format!("http://{}", mesh.grpc_addr().unwrap());
    let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
    let mut calls: HashMap<&str, Call> = HashMap::new();
    for line in lines {
        let of = line.of.as_str();
        match (&line.what, line.method.as_str()) {
            (What::Client(bytes), "subscribeStream") => {
                let message = pb::CloudEvent::decode(bytes.as_slice()).unwrap();
                if let Some(Call::Stream(to_server, ..)) = calls.get(of) {
                    let _ = to_server.send(message).await;
                    continue;
                }
                let (to_server, messages) = mpsc::channel(16);
                to_server.send(message).await.unwrap();
                let mut consumer = ConsumerServiceClient::new(channel.clone());
                let stream = consumer.subscribe_stream(ReceiverStream::new(messages)).await.unwrap().into_inner();
                calls.insert(of, Call::Stream(to_server, stream, Vec::new()));
            }
            (What::Client(bytes), method) => {
                let answer = unary(method, bytes, &channel).await;
                calls.insert(of, Call::Unary(answer));
            }
            (What::Server(bytes), _) => {
                let theirs = pb::CloudEvent::decode(bytes.as_slice()).unwrap();
                // EventMesh's standalone storage knows no replies and gives them back.
                if attr(&theirs, keys::SUB_MESSAGE_TYPE).is_some() {
                    compared.differs(Some("request-reply"), line, String::new);
                    continue;
                }
                let ours = match calls.get_mut(of) {
                    Some(Call::Unary(answer)) => Some(answer.clone()),
                    Some(Call::Stream(_, stream, came)) => counterpart(&theirs, stream, came).await,
                    None => None,
                };
                if ours.as_ref().is_some_and(|ours| same(&theirs, ours)) {
                    compared.alike();
                } else {
                    compared.differs(None, line, || format!("EventMesh: {theirs:?}, the mesh: {ours:?}"));
                }
            }
            (What::Cut, _) => compared.skipped(),
            _ => {}
        }
    }
    drop(calls);
    mesh.shutdown().await;
}
