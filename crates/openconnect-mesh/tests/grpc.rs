#![allow(clippy::unwrap_used, missing_docs)]
//! The gRPC services, alone and together with TCP.

mod support;

use openconnect_mesh::MeshHandle;
use openconnect_protocol::frame::Command;
use openconnect_protocol::grpc::pb::consumer_service_client::ConsumerServiceClient;
use openconnect_protocol::grpc::pb::heartbeat_service_client::HeartbeatServiceClient;
use openconnect_protocol::grpc::pb::publisher_service_client::PublisherServiceClient;
use openconnect_protocol::grpc::{StatusCode, attr, pb, set_attr};
use serde_json::json;
use support::*;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

async fn channel(mesh: &MeshHandle) -> Channel {
    Channel::from_shared(format!("http://{}", mesh.grpc_addr().unwrap()))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

/// As the Java library fills it.
fn call(text: &str) -> pb::CloudEvent {
    let mut call = pb::CloudEvent {
        id: "call".into(),
        source: "/".into(),
        spec_version: "1.0".into(),
        r#type: "org.apache.eventmesh".into(),
        data: Some(pb::cloud_event::Data::TextData(text.into())),
        ..Default::default()
    };
    for (name, value) in [
        ("env", "test"),
        ("idc", "idc1"),
        ("ip", "127.0.0.1"),
        ("pid", "77"),
        ("sys", "1234"),
        ("language", "JAVA"),
        ("username", "user"),
        ("passwd", "pass"),
        ("protocoltype", "cloudevents"),
        ("protocolversion", "1.0"),
        ("datacontenttype", "application/json"),
    ] {
        set_attr(&mut call, name, value);
    }
    call
}

fn publishing(topic: &str, id: &str) -> pb::CloudEvent {
    let mut event = call(r#"{"n":1}"#);
    event.id = id.into();
    for (name, value) in [
        ("subject", topic),
        ("producergroup", "p"),
        ("uniqueid", "u1"),
        ("seqnum", "s1"),
        ("ttl", "4000"),
        ("protocoldesc", "grpc-cloud-event"),
    ] {
        set_attr(&mut event, name, value);
    }
    event
}

fn code(answer: &pb::CloudEvent) -> i32 {
    StatusCode::of(answer).unwrap().0
}

struct Subscriber {
    to_server: mpsc::Sender<pb::CloudEvent>,
    from_server: Streaming<pb::CloudEvent>,
}

fn subscription(group: &str, topic: &str, kind: &str) -> pb::CloudEvent {
    let mut first = call(&json!([{"topic":topic,"mode":"CLUSTERING","type":kind}]).to_string());
    set_attr(&mut first, "consumergroup", group);
    first
}

impl Subscriber {
    async fn open(channel: &Channel, first: pb::CloudEvent) -> Self {
        let (to_server, outgoing) = mpsc::channel(16);
        to_server.send(first).await.unwrap();
        let mut client = ConsumerServiceClient::new(channel.clone());
        let from_server = client.subscribe_stream(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
        let mut subscriber = Self { to_server, from_server };
        let answer = subscriber.next().await;
        assert_eq!((code(&answer), attr(&answer, "responsemessage")), (0, Some("subscribe success")));
        assert_eq!(attr(&answer, "uniqueid"), None);
        assert_eq!(attr(&answer, "passwd"), None);
        subscriber
    }

    async fn next(&mut self) -> pb::CloudEvent {
        let got = tokio::time::timeout(WAIT, self.from_server.message())
            .await
            .expect("nothing came in time");
        got.unwrap().expect("the stream has ended")
    }
}

#[tokio::test]
async fn publish_subscribe_and_batch() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |_| {}).await;
    let channel = channel(&mesh).await;
    let mut subscriber = Subscriber::open(&channel, subscription("g", "t", "ASYNC")).await;
    let mut publisher = PublisherServiceClient::new(channel.clone());
    let answer = publisher.publish(publishing("t", "e0")).await.unwrap().into_inner();
    assert_eq!(code(&answer), 0);
    assert!(attr(&answer, "openconnectserver").unwrap().starts_with("openconnect-mesh"));
    let events = vec![publishing("t", "e1"), publishing("t", "e2")];
    let answer = publisher.batch_publish(pb::CloudEventBatch { events }).await.unwrap().into_inner();
    assert_eq!(code(&answer), 0);
    publisher.publish_one_way(publishing("t", "e3")).await.unwrap();
    for n in 0..4 {
        let event = subscriber.next().await;
        assert_eq!(event.id, format!("e{n}"));
        assert_eq!(attr(&event, "uniqueid"), Some("u1"));
        assert_eq!(attr(&event, "seqnum"), Some("s1"));
        assert_eq!(attr(&event, "passwd"), None, "nobody's password goes to subscribers");
        assert_eq!(event.data, Some(pb::cloud_event::Data::TextData(r#"{"n":1}"#.into())));
    }
    mesh.shutdown().await;
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |_| {}).await;
    let channel = channel(&mesh).await;
    let mut first = subscription("g", "t", "ASYNC");
    set_attr(&mut first, "openconnectack", "true");
    let mut subscriber = Subscriber::open(&channel, first.clone()).await;
    let mut publisher = PublisherServiceClient::new(channel.clone());
    for id in ids(0..3) {
        assert_eq!(code(&publisher.publish(publishing("t", &id)).await.unwrap().into_inner()), 0);
    }
    let mut got = Vec::new();
    for _ in 0..3 {
        got.push(subscriber.next().await);
    }
    let mut ack = call("{}");
    set_attr(&mut ack, "submessagetype", "subscription_ack");
    set_attr(&mut ack, "openconnectseq", attr(&got[0], "openconnectseq").unwrap());
    subscriber.to_server.send(ack).await.unwrap();
    // An answer on the same stream shows that the acknowledgement was handled.
    subscriber.to_server.send(first.clone()).await.unwrap();
    assert_eq!(code(&subscriber.next().await), 0);
    drop(subscriber);
    let mut again = Subscriber::open(&channel, first).await;
    assert_eq!(again.next().await.id, "e1");
    let last = again.next().await;
    assert_eq!((last.id.as_str(), attr(&last, "openconnectattempt")), ("e2", Some("2")));
    mesh.shutdown().await;
}

#[tokio::test]
async fn without_acknowledgements_delivered_is_consumed() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |_| {}).await;
    let channel = channel(&mesh).await;
    let mut subscriber = Subscriber::open(&channel, subscription("g", "t", "ASYNC")).await;
    let mut publisher = PublisherServiceClient::new(channel.clone());
    publisher.publish(publishing("t", "e0")).await.unwrap();
    assert_eq!(subscriber.next().await.id, "e0");
    drop(subscriber);
    publisher.publish(publishing("t", "e1")).await.unwrap();
    let mut again = Subscriber::open(&channel, subscription("g", "t", "ASYNC")).await;
    assert_eq!(again.next().await.id, "e1");
    mesh.shutdown().await;
}

/// The Java library closes so: it ends its side, and leaves the connection open until the server ends the other.
#[tokio::test]
async fn a_subscriber_that_ends_its_side_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |_| {}).await;
    let channel = channel(&mesh).await;
    let Subscriber {
        to_server,
        mut from_server,
    } = Subscriber::open(&channel, subscription("g", "t", "ASYNC")).await;
    drop(to_server);
    let end = tokio::time::timeout(WAIT, from_server.message()).await.unwrap().unwrap();
    assert!(end.is_none(), "{end:?}");
    let mut publisher = PublisherServiceClient::new(channel.clone());
    publisher.publish(publishing("t", "e0")).await.unwrap();
    let mut other = Subscriber::open(&channel, subscription("g", "t", "ASYNC")).await;
    assert_eq!(other.next().await.id, "e0");
    mesh.shutdown().await;
}

#[tokio::test]
async fn request_and_reply() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |_| {}).await;
    let channel = channel(&mesh).await;
    let mut replier = Subscriber::open(&channel, subscription("g", "ask", "SYNC")).await;
    let mut publisher = PublisherServiceClient::new(channel.clone());
    let asking = tokio::spawn(async move { publisher.request_reply(publishing("ask", "q1")).await });
    let mut reply = replier.next().await;
    assert_eq!(reply.id, "q1");
    reply.id = "a1".into();
    reply.data = Some(pb::cloud_event::Data::TextData(r#"{"yes":true}"#.into()));
    set_attr(&mut reply, "submessagetype", "subscription_reply");
    replier.to_server.send(reply).await.unwrap();
    let answer = asking.await.unwrap().unwrap().into_inner();
    assert_eq!((answer.id.as_str(), code(&answer)), ("a1", 0));
    assert_eq!(answer.data, Some(pb::cloud_event::Data::TextData(r#"{"yes":true}"#.into())));

    let mut late = publishing("nobody", "q2");
    set_attr(&mut late, "ttl", "50");
    let answer = PublisherServiceClient::new(channel).request_reply(late).await.unwrap().into_inner();
    assert_eq!((answer.id.as_str(), code(&answer)), ("q2", 22));
    mesh.shutdown().await;
}

#[tokio::test]
async fn heartbeat_and_unsubscribe() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |_| {}).await;
    let channel = channel(&mesh).await;
    let mut beat = call(r#"[{"topic":"t","url":"grpc_stream"}]"#);
    set_attr(&mut beat, "consumergroup", "g");
    let mut heart = HeartbeatServiceClient::new(channel.clone());
    assert_eq!(code(&heart.heartbeat(beat.clone()).await.unwrap().into_inner()), 30);
    let mut subscriber = Subscriber::open(&channel, subscription("g", "t", "ASYNC")).await;
    assert_eq!(code(&heart.heartbeat(beat.clone()).await.unwrap().into_inner()), 0);
    let mut consumer = ConsumerServiceClient::new(channel);
    let answer = consumer.unsubscribe(subscription("g", "t", "ASYNC")).await.unwrap().into_inner();
    assert_eq!(code(&answer), 0);
    let end = tokio::time::timeout(WAIT, subscriber.from_server.message()).await.unwrap().unwrap();
    assert!(end.is_none());
    assert_eq!(code(&heart.heartbeat(beat).await.unwrap().into_inner()), 30);
    mesh.shutdown().await;
}

#[tokio::test]
async fn events_cross_between_the_transports() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |_| {}).await;
    let channel = channel(&mesh).await;
    let mut over_tcp = Client::subscriber(mesh.tcp_addr(), "tcp", "t").await;
    let mut over_grpc = Subscriber::open(&channel, subscription("grpc", "t", "ASYNC")).await;
    let mut grpc_publisher = PublisherServiceClient::new(channel.clone());
    grpc_publisher.publish(publishing("t", "g1")).await.unwrap();
    let mut tcp_publisher = Client::publisher(mesh.tcp_addr()).await;
    tcp_publisher.publish(&event("t", "t1")).await;
    let frame = over_tcp.next().await;
    let event = openconnect_protocol::wire::decode(&frame.body).unwrap();
    assert_eq!(cloudevents::AttributesReader::id(&event), "g1");
    assert_eq!(cloudevents::AttributesReader::datacontenttype(&event), Some("application/json"));
    assert_eq!(openconnect_protocol::payload::json(&event).unwrap(), r#"{"n":1}"#);
    assert_eq!(over_tcp.next().await.header.cmd, Command::AsyncMessageToClient);
    assert_eq!(over_grpc.next().await.id, "g1");
    let crossed = over_grpc.next().await;
    assert_eq!(crossed.id, "t1");
    assert!(attr(&crossed, "uniqueid").is_some() && attr(&crossed, "seqnum").is_some());
    mesh.shutdown().await;
}

#[tokio::test]
async fn refusals_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |c| {
        c.users.insert("user".to_owned(), openconnect_mesh::Secret::new("pass").unwrap());
        c.limits.max_event_bytes = 2000;
    })
    .await;
    let mut publisher = PublisherServiceClient::new(channel(&mesh).await);
    assert_eq!(code(&publisher.publish(publishing("t", "e")).await.unwrap().into_inner()), 0);
    let mut wrong = publishing("t", "e");
    set_attr(&mut wrong, "passwd", "other");
    assert_eq!(code(&publisher.publish(wrong).await.unwrap().into_inner()), 20);
    assert_eq!(code(&publisher.publish(publishing("", "e")).await.unwrap().into_inner()), 7);
    let mut large = publishing("t", "e");
    large.data = Some(pb::cloud_event::Data::TextData("x".repeat(3000)));
    let answer = publisher.publish(large).await.unwrap().into_inner();
    assert_eq!(code(&answer), 7);
    assert!(attr(&answer, "responsemessage").unwrap().contains("event size exceeds the limit"));
    mesh.shutdown().await;
}

#[tokio::test]
async fn rights_hold_for_every_call() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |c| {
        c.users.insert("user".to_owned(), openconnect_mesh::Secret::new("pass").unwrap());
        let rights = openconnect_mesh::Rights {
            publish: vec!["t".to_owned()],
            ..Default::default()
        };
        c.rights.insert("user".to_owned(), rights);
    })
    .await;
    let channel = channel(&mesh).await;
    let mut publisher = PublisherServiceClient::new(channel.clone());
    let denied = |answer: &pb::CloudEvent| {
        assert_eq!(code(answer), StatusCode::ACL_REFUSAL.0);
        let text = attr(answer, "responsemessage").unwrap();
        assert!(text.contains("user `user` has no auth"), "{text}");
    };
    let answer = publisher.publish(publishing("t", "1")).await.unwrap().into_inner();
    assert_eq!(code(&answer), 0);
    denied(&publisher.publish(publishing("secret", "2")).await.unwrap().into_inner());
    denied(&publisher.request_reply(publishing("secret", "3")).await.unwrap().into_inner());
    // One event too many, and nothing of the batch is stored.
    let events = vec![publishing("t", "4"), publishing("secret", "5")];
    denied(&publisher.batch_publish(pb::CloudEventBatch { events }).await.unwrap().into_inner());
    publisher.publish_one_way(publishing("secret", "6")).await.unwrap_err();
    let (to_server, outgoing) = mpsc::channel(1);
    to_server.send(subscription("g", "t", "ASYNC")).await.unwrap();
    let mut client = ConsumerServiceClient::new(channel.clone());
    let mut stream = client.subscribe_stream(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
    denied(&stream.message().await.unwrap().unwrap());
    assert!(!dir.path().join("topics/secret").exists());
    mesh.shutdown().await;
    let mesh = support::mesh(&dir, |_| {}).await;
    let mut subscriber = Client::subscriber(mesh.tcp_addr(), "g", "t").await;
    assert_eq!(id(&subscriber.next().await), "1");
    subscriber.nothing().await;
    mesh.shutdown().await;
}
