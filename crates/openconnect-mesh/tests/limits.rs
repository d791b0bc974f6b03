#![allow(clippy::unwrap_used, missing_docs)]
//! Clients that ask for too much, or take too long.

mod support;

use std::time::Duration;

use openconnect_protocol::frame::{self, Command, Header};
use serde_json::{Value, json};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Until the server closes.
async fn closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(WAIT, stream.read_to_end(&mut rest)).await.expect("still open");
}

#[tokio::test]
async fn whoever_does_not_greet_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |c| c.limits.handshake_timeout = Duration::from_millis(200)).await;
    let mut publisher = Client::publisher(mesh.tcp_addr()).await;
    for port in [mesh.tcp_addr(), mesh.grpc_addr().unwrap()] {
        closed(TcpStream::connect(port).await.unwrap()).await;
    }
    // Nor one that says the first bytes of the greeting.
    for (port, start) in [(mesh.tcp_addr(), &b"EventMesh"[..]), (mesh.grpc_addr().unwrap(), b"PRI * HTTP")] {
        let mut stream = TcpStream::connect(port).await.unwrap();
        stream.write_all(start).await.unwrap();
        closed(stream).await;
    }
    // Whoever has greeted may be quiet.
    publisher.publish_ids("t", ids(0..1)).await;
    mesh.shutdown().await;
}

#[tokio::test]
async fn a_frame_that_trickles_ends_its_session() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |c| c.limits.frame_timeout = Duration::from_millis(300)).await;
    let mut client = Client::publisher(mesh.tcp_addr()).await;
    let mut bytes = bytes::BytesMut::new();
    frame::encode(&Header::new(Command::HeartbeatRequest, "1"), &[b' '; 10_000], &mut bytes).unwrap();
    let trickle = async {
        // Each byte comes well before anything that is only idle would be closed.
        for byte in &bytes {
            if client.framed.get_mut().write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the frame came whole");
    };
    tokio::time::timeout(WAIT, trickle).await.expect("still open");
    mesh.shutdown().await;
}

#[tokio::test]
async fn greetings_and_headers_have_a_size() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |_| {}).await;
    let mut large = agent("g", "pub");
    large["subsystem"] = "x".repeat(64 << 10).into();
    let mut client = Client::connect(mesh.tcp_addr()).await;
    client.send(Header::new(Command::HelloRequest, "1"), &large).await;
    assert!(client.try_next().await.is_none(), "closed");
    let mut client = Client::publisher(mesh.tcp_addr()).await;
    let header = Header::new(Command::HeartbeatRequest, "1").with_property("p", "x".repeat(1 << 20));
    client.send(header, &Value::Null).await;
    assert!(client.try_next().await.is_none(), "closed");
    mesh.shutdown().await;
}

#[tokio::test]
async fn names_subscriptions_and_topics_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |c| {
        c.limits.max_subscriptions = 3;
        c.limits.max_groups = 2;
        c.topics.max = 4;
    })
    .await;
    let subscription = |topic: &str| json!({"topicList":[{"topic":topic,"mode":"CLUSTERING","type":"ASYNC"}]});
    let mut client = Client::hello(mesh.tcp_addr(), "g", "sub").await;
    for topic in ["a", "b", "c"] {
        client.subscribe(topic, "CLUSTERING", "ASYNC").await;
    }
    let answer = client.call(Command::SubscribeRequest, &subscription("d")).await;
    assert!(answer.header.desc.unwrap().contains("a session may have 3"));
    // A topic that it has already is no further one.
    client.subscribe("a", "CLUSTERING", "ASYNC").await;

    for group in ["x".repeat(300), "a\u{1b}[2J".to_owned(), "語".repeat(100)] {
        let mut client = Client::hello(mesh.tcp_addr(), &group, "sub").await;
        let answer = client.call(Command::SubscribeRequest, &subscription("a")).await;
        assert!(answer.header.desc.unwrap().contains("invalid group"), "{group}");
    }
    let _second = Client::subscriber(mesh.tcp_addr(), "g2", "a").await;
    let mut publisher = Client::publisher(mesh.tcp_addr()).await;
    for topic in ["../../escape", "..", "/etc/x", "a/b/c", "日本"] {
        let ack = publisher.publish(&event(topic, "1")).await;
        if ack.header.code != 0 {
            assert!(ack.header.desc.unwrap().contains("the most that are allowed"), "{topic}");
        }
    }
    for topic in ["", " ", "a\0b", "a\u{7f}", &"x".repeat(100_000)] {
        let ack = publisher.publish(&event(topic, "1")).await;
        assert!(ack.header.desc.unwrap().contains("invalid topic"), "{topic}");
    }
    assert!(!dir.path().parent().unwrap().join("escape").exists());
    let topics = std::fs::read_dir(dir.path().join("topics")).unwrap().count();
    assert_eq!(topics, 4);
    mesh.shutdown().await;
    // All of it is there again, whatever the names.
    let mesh = support::mesh(&dir, |_| {}).await;
    let mut subscriber = Client::subscriber(mesh.tcp_addr(), "g", "../../escape").await;
    assert_eq!(id(&subscriber.next().await), "1");
    mesh.shutdown().await;
}

#[tokio::test]
async fn whoever_takes_no_answers_is_closed_and_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |c| c.limits.session_timeout = Duration::from_secs(1)).await;
    let mut greedy = Client::publisher(mesh.tcp_addr()).await;
    let flood = async {
        let mut bytes = bytes::BytesMut::new();
        frame::encode(&Header::new(Command::HeartbeatRequest, "x".repeat(10_000)), b"", &mut bytes).unwrap();
        let mut sent = 0_usize;
        while greedy.framed.get_mut().write_all(&bytes).await.is_ok() {
            sent += bytes.len();
            assert!(sent < 1 << 30, "all of it was taken");
        }
    };
    tokio::time::timeout(WAIT, flood).await.expect("still open");
    let mut publisher = Client::publisher(mesh.tcp_addr()).await;
    publisher.publish_ids("t", ids(0..3)).await;
    mesh.shutdown().await;
}
