//! Publishing over TCP.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use openconnect_core::FailureKind;
use openconnect_core::mesh::MeshStatus;
use openconnect_protocol::frame::{Command, Header};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use crate::server::{Server, encoded};
use crate::{confirmed, event, publisher, refused, send, status, within};

/// A publisher and the server's side of its session.
macro_rules! connected {
    ($server:expr, $session:ident, $over:expr) => {{
        let url = $server.url();
        let (publisher, peer) = tokio::join!(publisher(&url, $over), $server.$session());
        (publisher.unwrap(), peer)
    }};
}

#[tokio::test]
async fn a_confirmation_counts_for_the_id_in_its_body() {
    let server = Server::start().await;
    let (publisher, mut peer) = connected!(server, session, json!({"window": 3}));
    let (a, b, mut c) = (
        send(&publisher, "a").await,
        send(&publisher, "b").await,
        send(&publisher, "c").await,
    );
    let (taken, ids) = peer.publishes(3).await;
    assert_eq!(ids, ["a", "b", "c"]);
    // With the number of another, twice, of nobody here, and out of order.
    let seq = |n: usize| taken[n].header.seq.clone();
    peer.confirm_as(&seq(0), "of another client").await;
    peer.confirm_as(&seq(2), "b").await;
    peer.confirm_as(&seq(2), "b").await;
    peer.confirm_as("17", "b").await;
    confirmed(b).await;
    let pending = tokio::time::timeout(Duration::from_millis(100), &mut c).await;
    assert!(pending.is_err(), "confirmed by the acknowledgement of another: {pending:?}");
    peer.confirm_as(&seq(0), "c").await;
    confirmed(c).await;
    // Without a body the number must do.
    let header = Header::answer(Command::AsyncMessageToServerAck, seq(0), 0, "success");
    peer.send(header, b"").await;
    confirmed(a).await;
}

#[tokio::test]
async fn numbers_of_two_clients_are_never_the_same() {
    let server = Server::start().await;
    let (first, mut one) = connected!(server, session, json!({}));
    let (second, mut two) = connected!(server, session, json!({}));
    let (a, b) = (send(&first, "a").await, send(&second, "b").await);
    let ((of_a, _), (of_b, _)) = (one.publish().await, two.publish().await);
    assert_ne!(of_a.header.seq, of_b.header.seq);
    // A refusal that was meant for the other has no body to tell by.
    one.refuse(&of_b, "java.lang.Exception: event size exceeds the limit: 1000").await;
    one.confirm(&of_a).await;
    confirmed(a).await;
    two.confirm(&of_b).await;
    confirmed(b).await;
}

#[tokio::test]
async fn after_a_refusal_in_mid_window_everything_from_there_is_sent_again_in_order() {
    let server = Server::start().await;
    let (publisher, mut peer) = connected!(server, ordered_session, json!({}));
    let mut sent = Vec::new();
    for id in ["a", "b", "c", "d", "e"] {
        sent.push(send(&publisher, id).await);
    }
    let (taken, _) = peer.publishes(5).await;
    peer.confirm(&taken[0]).await;
    peer.refuse_as(&taken[2], "busy").await;
    peer.closed().await;
    let mut peer = server.ordered_session().await;
    let (taken, ids) = peer.publishes(4).await;
    assert_eq!(ids, ["b", "c", "d", "e"]);
    for publish in &taken {
        peer.confirm(publish).await;
    }
    for published in sent {
        confirmed(published).await;
    }
    status(publisher.status(), |s| *s == MeshStatus::Connected).await;
}

#[tokio::test]
async fn a_full_window_is_waited_for_and_at_last_left() {
    let server = Server::start().await;
    let (publisher, mut peer) = connected!(server, session, json!({}));
    let published = send(&publisher, "a").await;
    let (mut refusals, started) = (0, Instant::now());
    while let Some(frame) = peer.next().await {
        refusals += 1;
        peer.refuse(&frame, "SEND_TOO_FAST").await;
        if refusals == 1 {
            let refusing = status(publisher.status(), |s| matches!(s, MeshStatus::Refusing { .. })).await;
            assert_eq!(
                refusing,
                MeshStatus::Refusing {
                    reason: "SEND_TOO_FAST".into()
                }
            );
        }
    }
    // Not hammered, and not for ever either: a new session has a new window.
    assert!(refusals > 1 && refusals < 100, "{refusals}");
    assert!(started.elapsed() > Duration::from_millis(100) * refusals);
    let mut peer = server.session().await;
    let (frame, id) = peer.publish().await;
    assert_eq!(id, "a");
    peer.confirm(&frame).await;
    confirmed(published).await;
    status(publisher.status(), |s| *s == MeshStatus::Connected).await;
}

#[tokio::test]
async fn refusals_for_good_are_told_and_the_others_go_on() {
    let server = Server::start().await;
    let (publisher, mut peer) = connected!(server, session, json!({}));
    for (desc, code, part) in [
        (
            "java.lang.Exception: event size exceeds the limit: 1000",
            "OC0311",
            "eventMesh.server.maxEventSize",
        ),
        (
            "org.apache.eventmesh.api.exception.AclException: group:g has no auth to access eventMesh",
            "OC0312",
            "no auth",
        ),
        (
            "io.cloudevents.rw.CloudEventRWException: Invalid extensions name: Bad-Name",
            "OC0313",
            "Bad-Name",
        ),
    ] {
        let published = send(&publisher, "bad").await;
        let (frame, _) = peer.publish().await;
        peer.refuse(&frame, desc).await;
        let failure = refused(published).await;
        assert_eq!((failure.kind, &*failure.code.to_string()), (FailureKind::Permanent, code));
        assert!(failure.reason().contains(part), "{failure}");
    }
    // What the server names goes before its text.
    let published = send(&publisher, "large").await;
    let (frame, _) = peer.publish().await;
    peer.refuse_as(&frame, "too-large").await;
    assert_eq!(refused(published).await.code, "OC0311");
    let published = send(&publisher, "good").await;
    let (frame, _) = peer.publish().await;
    peer.confirm(&frame).await;
    confirmed(published).await;
}

#[tokio::test]
async fn a_session_that_the_server_has_forgotten_is_set_up_again() {
    let server = Server::start().await;
    let (publisher, mut peer) = connected!(server, session, json!({}));
    let published = send(&publisher, "a").await;
    let (frame, _) = peer.publish().await;
    peer.refuse(&frame, "java.lang.Exception: no session is found").await;
    let mut peer = server.session().await;
    let (frame, id) = peer.publish().await;
    assert_eq!(id, "a");
    peer.confirm(&frame).await;
    confirmed(published).await;
}

/// The connection is taken, but nobody answers: before HELLO, and later.
#[tokio::test]
async fn a_server_that_never_answers_is_left_for_the_next() {
    let (silent, server) = (Server::start().await, Server::start().await);
    let url = silent.url_with(&server);
    let over = json!({"request_timeout": "1s", "heartbeat": "2s"});
    let (publisher, mut peer) = tokio::join!(publisher(&url, over), server.session());
    let publisher = publisher.unwrap();
    let published = send(&publisher, "a").await;
    // Read no further, so that no heartbeat is answered: the silent one has its turn, and then this one again.
    peer.publish().await;
    let mut again = server.session().await;
    let (frame, id) = again.publish().await;
    assert_eq!(id, "a");
    again.confirm(&frame).await;
    confirmed(published).await;
    drop(peer);
}

#[tokio::test]
async fn an_event_that_is_never_confirmed_is_sent_again_elsewhere() {
    let (first, second) = (Server::start().await, Server::start().await);
    let url = first.url_with(&second);
    let over = json!({"request_timeout": "1s", "heartbeat": "2s"});
    let (publisher, mut peer) = tokio::join!(publisher(&url, over), first.session());
    let publisher = publisher.unwrap();
    let published = send(&publisher, "a").await;
    peer.publish().await;
    // Heartbeats are answered on the way.
    let (mut other, ()) = tokio::join!(second.session(), peer.closed());
    let (frame, id) = other.publish().await;
    assert_eq!(id, "a");
    other.confirm(&frame).await;
    confirmed(published).await;
}

#[tokio::test]
async fn a_server_that_stops_reading_is_left_and_nothing_is_lost() {
    let (stuck, server) = (Server::start().await, Server::start().await);
    let url = stuck.url_with(&server);
    let over = json!({"request_timeout": "2s", "heartbeat": "2s"});
    let (publisher, _stuck) = tokio::join!(publisher(&url, over), stuck.ordered_session());
    let publisher = publisher.unwrap();
    let mut large = event("0");
    let mut sent = Vec::new();
    for number in 0..200 {
        cloudevents::AttributesWriter::set_id(&mut large, number.to_string());
        large.set_data_unchecked("x".repeat(64 << 10));
        sent.push(publisher.send("t", Some("key"), &large).await);
    }
    let mut peer = server.ordered_session().await;
    for number in 0..200 {
        let (frame, id) = peer.publish().await;
        assert_eq!(id, number.to_string());
        peer.confirm(&frame).await;
    }
    for published in sent {
        confirmed(published).await;
    }
}

/// What is no protocol ends the session, at once and without waiting for the rest of it.
#[tokio::test]
async fn garbage_from_the_server_ends_the_session_only() {
    let ack = encoded(Header::answer(Command::AsyncMessageToServerAck, "0", 0, "success"), b"{}");
    let oversize = [b"EventMesh0000".as_slice(), &[0x7f, 0, 0, 0, 0, 0, 0, 10]].concat();
    let negative = [b"EventMesh0000".as_slice(), &[0, 0, 0, 20, 0xff, 0, 0, 10]].concat();
    let no_header = [b"EventMesh0000".as_slice(), &[0, 0, 0, 13, 0, 0, 0, 0]].concat();
    let not_json = [b"EventMesh0000".as_slice(), &[0, 0, 0, 17, 0, 0, 0, 4], b"nope"].concat();
    let http = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
    let server = Server::start().await;
    let (publisher, mut peer) = connected!(server, session, json!({}));
    let published = send(&publisher, "a").await;
    for (what, bytes) in [
        ("oversize", oversize),
        ("negative", negative),
        ("no header", no_header),
        ("not JSON", not_json),
        ("HTTP", http),
    ] {
        peer.publish().await;
        peer.write(&bytes).await;
        peer.closed().await;
        println!("{what}: the session ended");
        peer = server.session().await;
    }
    // Cut off in the middle of a frame.
    peer.publish().await;
    peer.write(&ack[..ack.len() / 2]).await;
    drop(peer);
    let mut peer = server.session().await;
    let (frame, id) = peer.publish().await;
    assert_eq!(id, "a");
    // Unknown commands and members are passed over.
    peer.send(Header::new(Command::TraceLogToLogserver, "x"), b"?").await;
    peer.confirm(&frame).await;
    confirmed(published).await;
}

#[tokio::test]
async fn a_goodbye_is_obeyed_after_what_is_in_flight() {
    let (first, second) = (Server::start().await, Server::start().await);
    let url = first.url_with(&second);
    let (publisher, mut peer) = tokio::join!(publisher(&url, json!({"window": 1})), first.session());
    let publisher = publisher.unwrap();
    let (a, b) = (send(&publisher, "a").await, send(&publisher, "b").await);
    let (frame, _) = peer.publish().await;
    peer.goodbye().await;
    peer.confirm(&frame).await;
    confirmed(a).await;
    // Nothing more is sent here, and what was confirmed is not sent again there.
    let (mut other, ()) = tokio::join!(second.session(), peer.closed());
    let (frame, id) = other.publish().await;
    assert_eq!(id, "b");
    other.confirm(&frame).await;
    confirmed(b).await;
}

#[tokio::test]
async fn a_redirect_is_followed_and_the_list_has_its_turn_again_afterwards() {
    let (listed, unlisted) = (Server::start().await, Server::start().await);
    let (publisher, mut peer) = connected!(listed, session, json!({}));
    peer.redirect(&json!({"ip": "127.0.0.1", "port": unlisted.port()})).await;
    let mut other = unlisted.session().await;
    let published = send(&publisher, "a").await;
    let (frame, _) = other.publish().await;
    other.confirm(&frame).await;
    confirmed(published).await;
    drop((other, unlisted));
    let mut peer = listed.session().await;
    // A redirect to where nobody is: the list has its turn.
    peer.redirect(&json!({"ip": "127.0.0.1", "port": 1})).await;
    let mut peer = listed.session().await;
    // One that says nothing.
    peer.redirect(&json!({"port": "x"})).await;
    let mut peer = listed.session().await;
    let published = send(&publisher, "b").await;
    let (frame, _) = peer.publish().await;
    peer.confirm(&frame).await;
    confirmed(published).await;
}

#[tokio::test]
async fn servers_that_redirect_in_circles_are_not_followed_for_ever() {
    let (one, two) = (Server::start().await, Server::start().await);
    let (publisher, mut peer) = connected!(one, session, json!({}));
    let noticed = status(
        publisher.status(),
        |status| matches!(status, MeshStatus::Disconnected { reason } if reason.contains("in circles")),
    );
    let mut redirects = 0;
    let redirecting = async {
        loop {
            redirects += 1;
            let (from, to) = if redirects % 2 == 1 { (&one, &two) } else { (&two, &one) };
            peer.redirect(&json!({"ip": "127.0.0.1", "port": to.port()})).await;
            peer.closed().await;
            // In the end it is the list's only server again.
            peer = tokio::select! { peer = to.session() => peer, peer = from.session() => peer };
        }
    };
    tokio::select! {
        _ = noticed => {}
        () = redirecting => {}
    }
    assert!((3..20).contains(&redirects), "{redirects}");
    let mut peer = one.session().await;
    let published = send(&publisher, "a").await;
    let (frame, _) = peer.publish().await;
    peer.confirm(&frame).await;
    confirmed(published).await;
}

#[tokio::test]
async fn a_refused_hello_is_waited_for_when_it_may_pass_and_told_when_not() {
    let process = "[org.apache.eventmesh.runtime.core.protocol.tcp.client.processor.HelloProcessor.process(HelloProcessor.java:71)";
    let validate =
        "[org.apache.eventmesh.runtime.core.protocol.tcp.client.processor.HelloProcessor.validateUserAgent(HelloProcessor.java:126)";
    let server = Server::start().await;
    let url = server.url();
    let script = async {
        for desc in [
            "java.lang.Exception: server state is not running, please wait",
            "Tps overload, global flow control",
            // A stack trace that does not tell why.
            process,
        ] {
            let mut peer = server.accept().await;
            let hello = peer.expect(Command::HelloRequest).await;
            peer.answer(&hello, 1, desc).await;
        }
        server.session().await
    };
    let (publisher, _peer) = tokio::join!(within("a session", publisher(&url, json!({}))), script);
    publisher.unwrap();
    for (desc, part) in [
        ("org.apache.eventmesh.api.exception.AclException: no auth", "mesh.password"),
        (validate, "mesh.group"),
    ] {
        let script = async {
            let mut peer = server.accept().await;
            let hello = peer.expect(Command::HelloRequest).await;
            peer.answer(&hello, 1, desc).await;
            peer
        };
        let (refused, _peer) = tokio::join!(within("a refusal", crate::publisher(&url, json!({}))), script);
        let error = refused.err().unwrap();
        assert_eq!(error.code, "OC0305");
        assert!(error.reason().contains(part), "{error}");
    }
}

#[tokio::test]
async fn closing_takes_no_longer_than_one_request_may() {
    let server = Server::start().await;
    let (publisher, mut peer) = connected!(server, session, json!({"request_timeout": "1s"}));
    let published = send(&publisher, "a").await;
    peer.publish().await;
    let started = Instant::now();
    within("the end", publisher.close()).await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let failure = refused(published).await;
    assert!(failure.is_retryable(), "{failure}");
}

/// Connections are cut at random, some before the server has kept the event and some after: per key everything arrives, and
/// the first arrivals are in order.
#[tokio::test]
async fn order_per_key_holds_through_random_cuts() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let server = Arc::new(Server::start().await);
    let kept: Arc<Mutex<Vec<String>>> = Arc::default();
    let url = server.url();
    let serving = tokio::spawn({
        let kept = Arc::clone(&kept);
        async move {
            let mut rng = StdRng::seed_from_u64(seed);
            loop {
                let (mut peer, kept, mut rng) = (server.accept().await, Arc::clone(&kept), StdRng::seed_from_u64(rng.random()));
                tokio::spawn(async move {
                    while let Some(frame) = peer.next().await {
                        if frame.header.cmd != Command::AsyncMessageToServer {
                            peer.answer(&frame, 0, "success").await;
                            continue;
                        }
                        let id = crate::server::id(&frame);
                        if rng.random_ratio(1, 40) {
                            return;
                        }
                        kept.lock().unwrap().push(id);
                        if rng.random_ratio(1, 40) {
                            return;
                        }
                        peer.confirm(&frame).await;
                    }
                });
            }
        }
    });
    let publisher = publisher(&url, json!({"connections": 3, "reconnect_max": "60ms"})).await.unwrap();
    let mut sent = Vec::new();
    for number in 0..600 {
        let key = format!("k{}", number % 7);
        sent.push(publisher.send("t", Some(&key), &event(&format!("{key}/{number}"))).await);
    }
    for published in sent {
        confirmed(published).await;
    }
    publisher.close().await;
    serving.abort();
    let mut last: HashMap<String, u32> = HashMap::new();
    let mut seen = std::collections::HashSet::new();
    for id in kept.lock().unwrap().iter().filter(|id| seen.insert((*id).clone())) {
        let (key, number) = id.split_once('/').unwrap();
        let number = number.parse().unwrap();
        let before = last.insert(key.to_owned(), number);
        assert!(before.is_none_or(|before| before < number), "{id} came after {before:?}");
    }
    assert_eq!(last.len(), 7);
    println!("{} arrivals of 600 events", kept.lock().unwrap().len());
}
