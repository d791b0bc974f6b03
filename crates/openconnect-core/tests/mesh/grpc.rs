//! Both directions over gRPC.

use std::time::{Duration, Instant};

use openconnect_core::FailureKind;
use openconnect_core::mesh::{Delivery, MeshStatus, Subscriber};
use serde_json::json;
use tonic::Status;

use crate::grpc_server::{GrpcServer, Reply, pushed};
use crate::{confirmed, publisher, refused, send, status, subscriber, within};

#[tokio::test]
async fn what_may_pass_is_sent_again_with_the_same_id() {
    let server = GrpcServer::start().await;
    let publisher = publisher(&server.url(), json!({"request_timeout": "2s"})).await.unwrap();
    let replies = [
        Reply::Code(1),
        Reply::Code(14),
        Reply::Code(21),
        Reply::Code(8),
        Reply::Code(99),
        Reply::Kind(7, "busy"),
        Reply::Nothing,
        Reply::Never,
        Reply::Status(Status::unavailable("gone")),
        Reply::Status(Status::internal("broken")),
    ];
    server.publishes(&replies);
    let (a, b) = (send(&publisher, "a").await, send(&publisher, "b").await);
    confirmed(a).await;
    confirmed(b).await;
    let mut expected = vec!["a"; replies.len() + 1];
    expected.push("b");
    assert_eq!(server.seen(), expected);
    status(publisher.status(), |s| *s == MeshStatus::Connected).await;
}

#[tokio::test]
async fn refusals_for_good_are_told_and_the_others_go_on() {
    let server = GrpcServer::start().await;
    let publisher = publisher(&server.url(), json!({})).await.unwrap();
    for (reply, code) in [
        (Reply::Code(6), "OC0313"),
        (Reply::Code(7), "OC0313"),
        (Reply::Kind(7, "too-large"), "OC0311"),
        (Reply::Kind(14, "denied"), "OC0312"),
        // The credentials are good, as a heartbeat shows: it is the topic.
        (Reply::Code(20), "OC0312"),
    ] {
        server.publishes(&[reply]);
        let failure = refused(send(&publisher, "bad").await).await;
        assert_eq!((failure.kind, &*failure.code.to_string()), (FailureKind::Permanent, code));
    }
    confirmed(send(&publisher, "good").await).await;
}

#[tokio::test]
async fn credentials_that_are_not_accepted_end_it() {
    let server = GrpcServer::start().await;
    server.publisher_heartbeats(&[Reply::Code(20)]);
    let error = within("a refusal", publisher(&server.url(), json!({}))).await.err().unwrap();
    assert_eq!(error.code, "OC0305");
    // Taken away later.
    let publisher = publisher(&server.url(), json!({})).await.unwrap();
    server.publishes(&[Reply::Code(20)]);
    server.publisher_heartbeats(&[Reply::Code(20)]);
    let failure = refused(send(&publisher, "a").await).await;
    assert_eq!((failure.kind, &*failure.code.to_string()), (FailureKind::Fatal, "OC0305"));
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_for_the_next() {
    let silent = crate::server::Server::start().await;
    let server = GrpcServer::start().await;
    let url = format!("grpc://127.0.0.1:{},{}", silent.port(), &server.url()["grpc://".len()..]);
    let publisher = within("a session", publisher(&url, json!({"request_timeout": "1s"})))
        .await
        .unwrap();
    confirmed(send(&publisher, "a").await).await;
    let started = Instant::now();
    server.publishes(&[Reply::Never]);
    let never = send(&publisher, "b").await;
    within("the end", publisher.close()).await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(refused(never).await.is_retryable());
}

async fn take(subscriber: &mut Subscriber) -> Delivery {
    let mut taken = Vec::new();
    within("a delivery", subscriber.recv(&mut taken, 1)).await.unwrap();
    taken.remove(0)
}

fn id(delivery: &Delivery) -> String {
    let event = openconnect_protocol::wire::decode(&delivery.raw).unwrap();
    cloudevents::AttributesReader::id(&event).to_owned()
}

/// With EventMesh 1.x a stream ends whenever another member of the group leaves.
#[tokio::test]
async fn a_stream_that_ends_or_fails_is_opened_again() {
    let mut server = GrpcServer::start().await;
    let mut subscriber = subscriber(&server.url(), json!({})).await.unwrap();
    assert!(!subscriber.capabilities().acknowledges);
    let stream = server.stream().await;
    stream.send(Ok(pushed("1"))).await.unwrap();
    assert_eq!(id(&take(&mut subscriber).await), "1");
    stream.send(Err(Status::unavailable("restarting"))).await.unwrap();
    let stream = server.stream().await;
    stream.send(Ok(pushed("2"))).await.unwrap();
    assert_eq!(id(&take(&mut subscriber).await), "2");
    // An answer that ends the subscription.
    let mut answer = pushed("x");
    answer.attributes.remove("uniqueid");
    openconnect_protocol::grpc::set_attr(&mut answer, "statuscode", "16");
    stream.send(Ok(answer)).await.unwrap();
    let stream = server.stream().await;
    stream.send(Ok(pushed("3"))).await.unwrap();
    assert_eq!(id(&take(&mut subscriber).await), "3");
    within("the end", subscriber.close()).await;
}

#[tokio::test]
async fn a_heartbeat_that_tells_to_subscribe_again_is_obeyed() {
    let mut server = GrpcServer::start().await;
    server.subscriber_heartbeats(&[Reply::Code(30), Reply::Never]);
    let over = json!({"heartbeat": "300ms", "request_timeout": "2s"});
    let mut subscriber = subscriber(&server.url(), over).await.unwrap();
    let _forgotten = server.stream().await;
    // And one that is not answered.
    let _silent = server.stream().await;
    let stream = server.stream().await;
    stream.send(Ok(pushed("1"))).await.unwrap();
    assert_eq!(id(&take(&mut subscriber).await), "1");
}

#[tokio::test]
async fn a_refused_subscription_is_tried_again_or_told() {
    let server = GrpcServer::start().await;
    server.subscriptions(&[Reply::Code(17), Reply::Status(Status::unavailable("starting"))]);
    within("a subscription", subscriber(&server.url(), json!({}))).await.unwrap();
    for code in [20, 9, 7] {
        server.subscriptions(&[Reply::Code(code)]);
        let error = within("a refusal", subscriber(&server.url(), json!({}))).await.err().unwrap();
        assert!(error.reason().contains("OC0314"), "{code}: {error}");
    }
}
