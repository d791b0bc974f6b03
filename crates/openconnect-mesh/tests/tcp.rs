#![allow(clippy::unwrap_used, missing_docs)]
//! The TCP protocol through a socket.

mod support;

use std::time::Duration;

use openconnect_protocol::frame::{Command, Header};
use serde_json::{Value, json};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn hello_tells_what_this_server_can() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |_| {}).await;
    let (mut client, answer) = Client::hello_as(mesh.tcp_addr(), agent("g", "pub"), &[]).await;
    assert_eq!(answer.header.desc.as_deref(), Some("success"));
    assert!(
        answer
            .header
            .property("openconnectserver")
            .unwrap()
            .starts_with("openconnect-mesh ")
    );
    assert_eq!(answer.header.property("openconnectredelivers"), Some("true"));
    assert_eq!(answer.header.property("openconnectorderedrefusal"), Some("true"));
    assert_eq!(answer.header.property("openconnectmaxeventbytes"), Some("4194304"));
    assert_eq!(answer.header.property("openconnectacks"), Some("many"));
    assert_eq!(
        client.call(Command::HeartbeatRequest, &Value::Null).await.header.cmd,
        Command::HeartbeatResponse
    );
    mesh.shutdown().await;
}

#[tokio::test]
async fn publish_subscribe_acknowledge() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |_| {}).await;
    let mut publisher = Client::publisher(mesh.tcp_addr()).await;
    publisher.publish_ids("orders", ids(0..5)).await;
    let mut subscriber = Client::subscriber(mesh.tcp_addr(), "g", "orders").await;
    publisher.publish_ids("orders", ids(5..10)).await;
    let got = subscriber.take(10).await;
    for (n, frame) in got.iter().enumerate() {
        assert_eq!(frame.header.cmd, Command::AsyncMessageToClient);
        assert_eq!(frame.header.property("protocoltype"), Some("cloudevents"));
        let body = body(frame);
        assert_eq!(body["id"], format!("e{n}"));
        assert_eq!(body["data"], json!({"n":1}));
        assert_eq!(body["rsp0group"], "g");
        subscriber.ack(frame).await;
    }
    subscriber.nothing().await;
    mesh.shutdown().await;
}

#[tokio::test]
async fn groups_are_independent_and_keep_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let running = mesh(&dir, |_| {}).await;
    let mut publisher = Client::publisher(running.tcp_addr()).await;
    publisher.publish_ids("t", ids(0..6)).await;
    let mut a = Client::subscriber(running.tcp_addr(), "a", "t").await;
    let mut b = Client::subscriber(running.tcp_addr(), "b", "t").await;
    assert_eq!(a.take_and_ack(6).await, ids(0..6));
    let got = b.take(6).await;
    for frame in &got[..2] {
        b.ack(frame).await;
    }
    // An answer after the acknowledgements shows that they were handled.
    a.call(Command::HeartbeatRequest, &Value::Null).await;
    b.call(Command::HeartbeatRequest, &Value::Null).await;
    running.shutdown().await;
    let running = mesh(&dir, |_| {}).await;
    let mut a = Client::subscriber(running.tcp_addr(), "a", "t").await;
    let mut b = Client::subscriber(running.tcp_addr(), "b", "t").await;
    assert_eq!(b.take_and_ack(4).await, ids(2..6));
    a.nothing().await;
    running.shutdown().await;
}

#[tokio::test]
async fn the_end_of_a_session_gives_its_events_back_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |_| {}).await;
    let mut publisher = Client::publisher(mesh.tcp_addr()).await;
    publisher.publish_ids("t", ids(0..6)).await;
    let mut first = Client::subscriber(mesh.tcp_addr(), "g", "t").await;
    let got = first.take(6).await;
    first.ack(&got[1]).await;
    first.call(Command::HeartbeatRequest, &Value::Null).await;
    let mut second = Client::subscriber(mesh.tcp_addr(), "g", "t").await;
    second.nothing().await;
    drop(first);
    let again = second.take(5).await;
    assert_eq!(again.iter().map(id).collect::<Vec<_>>(), ["e0", "e2", "e3", "e4", "e5"]);
    assert_eq!(again[0].header.property("openconnectattempt"), Some("2"));
    mesh.shutdown().await;
}

#[tokio::test]
async fn the_deadline_gives_events_back_but_not_from_one_that_holds() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |c| c.delivery.redeliver_after = Duration::from_millis(100)).await;
    let mut publisher = Client::publisher(mesh.tcp_addr()).await;
    let (mut holder, _) = Client::hello_as(mesh.tcp_addr(), agent("h", "sub"), &[("openconnectholds", "true")]).await;
    holder.subscribe("t", "CLUSTERING", "ASYNC").await;
    let mut other = Client::subscriber(mesh.tcp_addr(), "g", "t").await;
    publisher.publish_ids("t", ids(0..2)).await;
    let first = other.take(2).await;
    let second = other.take(2).await;
    assert_eq!(first.iter().map(id).collect::<Vec<_>>(), second.iter().map(id).collect::<Vec<_>>());
    assert_eq!(second[0].header.property("openconnectattempt"), Some("2"));
    assert_eq!(holder.take(2).await.len(), 2);
    holder.nothing().await;
    mesh.shutdown().await;
}

#[tokio::test]
async fn members_share_events_and_a_key_stays_with_one() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |c| c.delivery.max_unacknowledged = 64).await;
    let mut a = Client::subscriber(mesh.tcp_addr(), "g", "t").await;
    let mut b = Client::subscriber(mesh.tcp_addr(), "g", "t").await;
    let mut publisher = Client::publisher(mesh.tcp_addr()).await;
    for n in 0..40 {
        let mut event = event("t", &format!("e{n}"));
        event["partitionkey"] = format!("k{}", n % 4).into();
        assert_eq!(publisher.publish(&event).await.header.code, 0);
    }
    let mut held = Vec::new();
    for client in [&mut a, &mut b] {
        let mut got = Vec::new();
        while let Ok(Some(Ok(frame))) =
            tokio::time::timeout(Duration::from_millis(300), futures_util::StreamExt::next(&mut client.framed)).await
        {
            got.push(frame);
        }
        held.push(got);
    }
    assert_eq!(held[0].len() + held[1].len(), 40);
    assert!(!held[0].is_empty() && !held[1].is_empty(), "both get some");
    for key in 0..4 {
        let of_key = |frames: &[_]| {
            frames
                .iter()
                .map(body)
                .filter(|e| e["partitionkey"] == format!("k{key}"))
                .collect::<Vec<_>>()
        };
        let (x, y) = (of_key(&held[0]), of_key(&held[1]));
        assert!(x.is_empty() || y.is_empty(), "key {key} is with both");
        let numbers: Vec<usize> = x
            .iter()
            .chain(&y)
            .map(|e| e["id"].as_str().unwrap()[1..].parse().unwrap())
            .collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
    mesh.shutdown().await;
}

#[tokio::test]
async fn a_slow_subscriber_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |c| c.delivery.max_unacknowledged = 10).await;
    let mut slow = Client::subscriber(mesh.tcp_addr(), "slow", "t").await;
    let mut quick = Client::subscriber(mesh.tcp_addr(), "quick", "t").await;
    let mut publisher = Client::publisher(mesh.tcp_addr()).await;
    publisher.publish_ids("t", ids(0..200)).await;
    assert_eq!(quick.take_and_ack(200).await, ids(0..200));
    // The slow one has its window and no more; it goes on as it acknowledges.
    let mut got = slow.take(10).await;
    slow.nothing().await;
    let mut seen = Vec::new();
    while seen.len() < 200 {
        for frame in got {
            slow.ack(&frame).await;
            seen.push(id(&frame));
        }
        got = slow.take(10.min(200 - seen.len())).await;
    }
    assert_eq!(seen, ids(0..200));
    mesh.shutdown().await;
}

#[tokio::test]
async fn broadcasting_reaches_every_member_from_now_on() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |_| {}).await;
    let mut publisher = Client::publisher(mesh.tcp_addr()).await;
    publisher.publish_ids("t", ids(0..1)).await;
    let mut members = Vec::new();
    for _ in 0..3 {
        let mut member = Client::hello(mesh.tcp_addr(), "g", "sub").await;
        member.subscribe("t", "BROADCASTING", "ASYNC").await;
        members.push(member);
    }
    publisher
        .send_event(Command::BroadcastMessageToServer, "b", &event("t", "all"))
        .await;
    assert_eq!(publisher.next().await.header.cmd, Command::BroadcastMessageToServerAck);
    for member in &mut members {
        let frame = member.next().await;
        assert_eq!(frame.header.cmd, Command::BroadcastMessageToClient);
        assert_eq!(id(&frame), "all");
        member.ack(&frame).await;
    }
    mesh.shutdown().await;
}

#[tokio::test]
async fn request_and_reply() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |_| {}).await;
    let mut replier = Client::hello(mesh.tcp_addr(), "g", "sub").await;
    replier.subscribe("ask", "CLUSTERING", "SYNC").await;
    let mut asker = Client::publisher(mesh.tcp_addr()).await;
    let mut question = event("ask", "q1");
    question["ttl"] = "5000".into();
    asker.send_event(Command::RequestToServer, "r1", &question).await;
    let request = replier.next().await;
    assert_eq!(request.header.cmd, Command::RequestToClient);
    let reply = json!({"specversion":"1.0","id":"a1","source":"/r","type":"t","subject":"ask",
        "datacontenttype":"application/cloudevents+json","data":"yes"});
    replier.send_event(Command::ResponseToServer, "x", &reply).await;
    replier.ack(&request).await;
    let answer = asker.next().await;
    assert_eq!((answer.header.cmd, answer.header.seq.as_str()), (Command::ResponseToClient, "r1"));
    assert_eq!(body(&answer)["data"], "yes");
    mesh.shutdown().await;
}

#[tokio::test]
async fn a_message_of_the_older_kind_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |_| {}).await;
    let mut subscriber = Client::subscriber(mesh.tcp_addr(), "g", "t").await;
    let mut publisher = Client::publisher(mesh.tcp_addr()).await;
    let message = json!({"topic":"t","properties":{"a":"b"},"headers":{},"body":"hi"});
    let header = Header::new(Command::AsyncMessageToServer, "m1").with_property("protocoltype", "eventmeshmessage");
    publisher.send(header, &message).await;
    assert_eq!(publisher.next().await.header.code, 0);
    let frame = subscriber.next().await;
    assert_eq!(frame.header.property("protocoltype"), Some("eventmeshmessage"));
    assert_eq!(body(&frame), message);
    mesh.shutdown().await;
}

#[tokio::test]
async fn refusals_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |c| {
        c.topics.auto_create = false;
        c.topics.create = vec!["known".to_owned()];
        c.limits.max_event_bytes = 1000;
    })
    .await;
    let mut early = Client::connect(mesh.tcp_addr()).await;
    let answer = early.call(Command::HeartbeatRequest, &Value::Null).await;
    assert_eq!(answer.header.code, 1);
    assert_eq!(answer.header.property("openconnectrefusal"), Some("session"));
    assert!(answer.header.desc.unwrap().contains("no session is found"));

    let mut publisher = Client::publisher(mesh.tcp_addr()).await;
    let mut large = event("known", "1");
    large["data"] = "x".repeat(2000).into();
    for (event, text, kind) in [
        (event("other", "1"), "unknown topic", "invalid"),
        (large, "event size exceeds the limit", "too-large"),
        (json!({"id":"1"}), "malformed", "invalid"),
        (json!([1]), "malformed", "invalid"),
    ] {
        let ack = publisher.publish(&event).await;
        assert_eq!(ack.header.code, 1);
        assert_eq!(ack.header.property("openconnectrefusal"), Some(kind));
        assert!(ack.header.desc.as_deref().unwrap().contains(text), "{:?}", ack.header);
    }
    // None of these latches.
    publisher.publish_ids("known", ids(0..1)).await;
    let answer = publisher.call(Command::ListenRequest, &Value::Null).await;
    assert!(answer.header.desc.unwrap().contains("client purpose config is not sub"));
    for (agent, text) in [
        (agent("", "pub"), "client group cannot be null"),
        (agent("g", "both"), "client purpose config is error"),
    ] {
        let (mut client, answer) = Client::hello_as(mesh.tcp_addr(), agent, &[]).await;
        assert!(answer.header.desc.unwrap().contains(text));
        assert!(client.try_next().await.is_none(), "closed after a bad HELLO");
    }
    mesh.shutdown().await;
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |c| {
        c.users.insert("u".to_owned(), openconnect_mesh::Secret::new("p").unwrap());
    })
    .await;
    Client::publisher(mesh.tcp_addr()).await;
    let mut wrong = agent("g", "pub");
    wrong["password"] = "q".into();
    let (mut client, answer) = Client::hello_as(mesh.tcp_addr(), wrong, &[]).await;
    assert_eq!(answer.header.property("openconnectrefusal"), Some("denied"));
    assert!(answer.header.desc.unwrap().contains("AclException"));
    assert!(client.try_next().await.is_none());
    mesh.shutdown().await;
}

#[tokio::test]
async fn garbage_closes_its_connection_only() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |_| {}).await;
    let mut publisher = Client::publisher(mesh.tcp_addr()).await;
    for port in [mesh.tcp_addr(), mesh.grpc_addr().unwrap()] {
        for garbage in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            &[0xff; 64],
            b"EventMesh0000\x7f\xff\xff\xff\0\0\0\0",
        ] {
            let mut stream = TcpStream::connect(port).await.unwrap();
            stream.write_all(garbage).await.unwrap();
            let mut rest = Vec::new();
            let _ = tokio::time::timeout(WAIT, stream.read_to_end(&mut rest)).await.expect("still open");
        }
    }
    publisher.publish_ids("t", ids(0..1)).await;
    mesh.shutdown().await;
}

#[tokio::test]
async fn full_refuses_in_order_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |c| {
        c.retention.max_bytes = 64 << 10;
        c.segment_bytes = 8 << 10;
    })
    .await;
    let mut subscriber = Client::subscriber(mesh.tcp_addr(), "g", "t").await;
    let mut publisher = Client::publisher(mesh.tcp_addr()).await;
    let mut accepted = 0;
    let refused = loop {
        let mut event = event("t", &format!("e{accepted}"));
        event["data"] = "x".repeat(1000).into();
        let ack = publisher.publish(&event).await;
        if ack.header.code != 0 {
            break ack;
        }
        accepted += 1;
        assert!(accepted < 100);
    };
    assert_eq!(refused.header.property("openconnectrefusal"), Some("busy"));
    assert!(refused.header.desc.unwrap().contains("mesh full"));
    // Small enough to fit, but it must not overtake.
    let later = publisher.publish(&event("t", "later")).await;
    assert!(
        later
            .header
            .desc
            .unwrap()
            .contains("an earlier publish of this connection was refused")
    );
    assert_eq!(subscriber.take_and_ack(accepted).await, ids(0..accepted));
    subscriber.call(Command::HeartbeatRequest, &Value::Null).await;
    let mut publisher = Client::publisher(mesh.tcp_addr()).await;
    publisher.publish_ids("t", ids(0..20)).await;
    assert_eq!(subscriber.take_and_ack(20).await, ids(0..20));
    mesh.shutdown().await;
}

#[tokio::test]
async fn the_oldest_go_when_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |c| {
        c.retention.max_bytes = 64 << 10;
        c.segment_bytes = 8 << 10;
        c.retention.when_full = openconnect_mesh::WhenFull::DropOldest;
    })
    .await;
    drop(Client::subscriber(mesh.tcp_addr(), "g", "t").await);
    let mut publisher = Client::publisher(mesh.tcp_addr()).await;
    for n in 0..200 {
        let mut event = event("t", &format!("e{n}"));
        event["data"] = "x".repeat(1000).into();
        assert_eq!(publisher.publish(&event).await.header.code, 0);
    }
    let mut subscriber = Client::subscriber(mesh.tcp_addr(), "g", "t").await;
    let first: usize = id(&subscriber.next().await)[1..].parse().unwrap();
    assert!(first > 100, "{first}");
    mesh.shutdown().await;
}

#[tokio::test]
async fn old_events_go_once_every_group_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |c| {
        c.retention.max_age = Duration::from_millis(1);
        c.segment_bytes = 8 << 10;
        c.delivery.save_cursors_every = Duration::from_millis(10);
    })
    .await;
    let topic = dir.path().join("topics/t");
    let bytes = || -> u64 {
        let files = std::fs::read_dir(&topic).unwrap();
        files.map(|file| file.unwrap().metadata().map_or(0, |file| file.len())).sum()
    };
    let mut first = Client::subscriber(mesh.tcp_addr(), "first", "t").await;
    let mut second = Client::subscriber(mesh.tcp_addr(), "second", "t").await;
    let mut publisher = Client::publisher(mesh.tcp_addr()).await;
    for n in 0..100 {
        let mut event = event("t", &format!("e{n}"));
        event["data"] = "x".repeat(1000).into();
        assert_eq!(publisher.publish(&event).await.header.code, 0);
    }
    first.take_and_ack(100).await;
    let all = bytes();
    // However old: the second group has not had them.
    assert_eq!(second.take_and_ack(100).await, ids(0..100));
    let end = std::time::Instant::now() + WAIT;
    while bytes() > all / 4 {
        assert!(std::time::Instant::now() < end, "{} of {all} bytes are still there", bytes());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    mesh.shutdown().await;
}

#[tokio::test]
async fn one_that_holds_may_finish_what_it_has_after_it_unsubscribed() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |_| ()).await;
    let (mut leaving, _) = Client::hello_as(mesh.tcp_addr(), agent("g", "sub"), &[("openconnectholds", "true")]).await;
    leaving.subscribe("t", "CLUSTERING", "ASYNC").await;
    let mut publisher = Client::publisher(mesh.tcp_addr()).await;
    publisher.publish_ids("t", ids(0..10)).await;
    let had = leaving.take(10).await;
    assert_eq!(leaving.call(Command::UnsubscribeRequest, &Value::Null).await.header.code, 0);
    publisher.publish_ids("t", ids(10..12)).await;
    // The next one gets what is new, and nothing of what the other still has.
    let mut next = Client::subscriber(mesh.tcp_addr(), "g", "t").await;
    assert_eq!(next.take_and_ack(2).await, ids(10..12));
    next.nothing().await;
    for delivery in &had[..7] {
        leaving.ack(delivery).await;
    }
    assert_eq!(leaving.call(Command::ClientGoodbyeRequest, &Value::Null).await.header.code, 0);
    assert_eq!(next.take_and_ack(3).await, ids(7..10));
    mesh.shutdown().await;
}

#[tokio::test]
async fn acknowledgements_for_many_go_both_ways_with_a_client_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, |_| ()).await;
    let many = [("openconnectacks", "many"), ("openconnectstamps", "none")];
    let (mut publisher, _) = Client::hello_as(mesh.tcp_addr(), agent("p", "pub"), &many).await;
    for n in 0..20 {
        let event = event("t", &format!("e{n}"));
        publisher.send_event(Command::AsyncMessageToServer, &format!("s{n}"), &event).await;
    }
    let mut confirmed = Vec::new();
    while confirmed.len() < 20 {
        let ack = publisher.next().await;
        assert_eq!((ack.header.cmd, ack.header.code), (Command::AsyncMessageToServerAck, 0));
        assert_eq!(ack.header.property("openconnectacks"), Some("many"));
        confirmed.extend(body(&ack).as_array().unwrap().iter().map(|seq| seq.as_str().unwrap().to_owned()));
    }
    assert_eq!(confirmed, (0..20).map(|n| format!("s{n}")).collect::<Vec<_>>());
    // A refusal is a frame of its own, and says which it was.
    publisher.send_event(Command::AsyncMessageToServer, "bad", &json!({})).await;
    let refused = publisher.next().await.header;
    assert_eq!((refused.code, &*refused.seq), (1, "bad"));

    let (mut subscriber, _) = Client::hello_as(mesh.tcp_addr(), agent("g", "sub"), &many).await;
    subscriber.subscribe("t", "CLUSTERING", "ASYNC").await;
    let got = subscriber.take(20).await;
    assert_eq!(body(&got[0]), event("t", "e0"), "nothing is added");
    let seqs: Vec<&str> = got[..15].iter().map(|frame| &*frame.header.seq).collect();
    let header = Header::new(Command::AsyncMessageToClientAck, "").with_property("openconnectacks", "many");
    subscriber.send(header.clone(), &json!(seqs)).await;
    subscriber.call(Command::HeartbeatRequest, &Value::Null).await;
    drop(subscriber);
    let mut next = Client::subscriber(mesh.tcp_addr(), "g", "t").await;
    assert_eq!(next.take_and_ack(5).await, ids(15..20));
    next.nothing().await;

    // What can't be read ends the connection: its client is broken.
    next.send(header, &json!({ "no": "list" })).await;
    assert!(next.try_next().await.is_none());
    mesh.shutdown().await;
}
