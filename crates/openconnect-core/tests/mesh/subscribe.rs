//! Subscribing over TCP.

use std::time::{Duration, Instant};

use openconnect_core::mesh::{Delivery, Subscriber};
use openconnect_protocol::frame::{Command, Header};
use serde_json::json;

use crate::server::{Peer, Server};
use crate::{subscriber, within};

async fn connected(server: &Server, over: serde_json::Value) -> (Subscriber, Peer) {
    let url = server.url();
    let (subscriber, peer) = tokio::join!(subscriber(&url, over), server.subscription());
    (subscriber.unwrap(), peer)
}

async fn take(subscriber: &mut Subscriber, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        within("a delivery", subscriber.recv(&mut taken, count)).await.unwrap();
    }
    taken
}

fn id(delivery: &Delivery) -> String {
    let event = openconnect_protocol::wire::decode(&delivery.raw).unwrap();
    cloudevents::AttributesReader::id(&event).to_owned()
}

#[tokio::test]
async fn only_what_was_acknowledged_is_acknowledged() {
    let server = Server::start().await;
    let (mut subscriber, mut peer) = connected(&server, json!({})).await;
    // Nothing comes again from such a server: whoever subscribes must know.
    assert!(!subscriber.capabilities().redelivers);
    for seq in ["1", "2", "3"] {
        peer.push(seq, seq).await;
    }
    let mut taken = take(&mut subscriber, 3).await;
    assert_eq!(taken.iter().map(id).collect::<Vec<_>>(), ["1", "2", "3"]);
    taken.pop().unwrap().ack.ack();
    drop(taken.pop());
    taken.pop().unwrap().ack.ack();
    for seq in ["3", "1"] {
        let ack = peer.expect(Command::AsyncMessageToClientAck).await;
        assert_eq!(ack.header.seq, seq);
    }
    within("the end", async { tokio::join!(subscriber.close(), farewell(&mut peer)) }).await;
}

/// Answers the end of a subscription and finds nothing else before it.
async fn farewell(peer: &mut Peer) {
    let goodbye = peer.expect(Command::ClientGoodbyeRequest).await;
    peer.answer(&goodbye, 0, "success").await;
}

#[tokio::test]
async fn an_event_that_the_server_could_not_serialise_is_told_and_can_be_acknowledged() {
    let server = Server::start().await;
    let (mut subscriber, mut peer) = connected(&server, json!({})).await;
    let trace = "[com.google.common.base.Preconditions.checkNotNull(Preconditions.java:922), org.apache.eventmesh";
    peer.send(Header::answer(Command::AsyncMessageToClient, "7", 1, trace), b"").await;
    let delivery = take(&mut subscriber, 1).await.remove(0);
    assert!(delivery.unreadable.as_deref().unwrap().contains("checkNotNull"));
    delivery.ack.ack();
    assert_eq!(peer.expect(Command::AsyncMessageToClientAck).await.header.seq, "7");
}

#[tokio::test]
async fn what_comes_before_the_answer_to_listen_is_not_lost() {
    let server = Server::start().await;
    let url = server.url();
    let script = async {
        let mut peer = server.session().await;
        let request = peer.expect(Command::SubscribeRequest).await;
        peer.answer(&request, 0, "success").await;
        let request = peer.expect(Command::ListenRequest).await;
        peer.push("1", "early").await;
        peer.answer(&request, 0, "succeed").await;
        peer
    };
    let (subscriber, _peer) = tokio::join!(subscriber(&url, json!({})), script);
    assert_eq!(id(&take(&mut subscriber.unwrap(), 1).await[0]), "early");
}

#[tokio::test]
async fn after_a_goodbye_everything_is_set_up_again_and_old_acknowledgements_are_dropped() {
    let (first, second) = (Server::start().await, Server::start().await);
    let url = first.url_with(&second);
    let (subscriber, mut peer) = tokio::join!(subscriber(&url, json!({})), first.subscription());
    let mut subscriber = subscriber.unwrap();
    peer.push("1", "acknowledged").await;
    peer.push("2", "late").await;
    let mut taken = take(&mut subscriber, 2).await;
    let late = taken.pop().unwrap();
    taken.pop().unwrap().ack.ack();
    peer.goodbye().await;
    let ((), mut other) = tokio::join!(
        async {
            assert_eq!(peer.expect(Command::AsyncMessageToClientAck).await.header.seq, "1");
            peer.closed().await;
        },
        second.subscription()
    );
    // The numbers of a session mean nothing in another.
    late.ack.ack();
    other.push("9", "again").await;
    take(&mut subscriber, 1).await.remove(0).ack.ack();
    assert_eq!(other.expect(Command::AsyncMessageToClientAck).await.header.seq, "9");
}

#[tokio::test]
async fn a_redirect_is_followed_and_the_list_has_its_turn_again_afterwards() {
    let (listed, unlisted) = (Server::start().await, Server::start().await);
    let (mut subscriber, mut peer) = connected(&listed, json!({})).await;
    peer.redirect(&json!({"ip": "127.0.0.1", "port": unlisted.port()})).await;
    let mut other = unlisted.subscription().await;
    other.push("1", "there").await;
    assert_eq!(id(&take(&mut subscriber, 1).await[0]), "there");
    drop((other, unlisted));
    let mut peer = listed.subscription().await;
    peer.push("1", "here").await;
    assert_eq!(id(&take(&mut subscriber, 1).await[0]), "here");
}

#[tokio::test]
async fn silence_is_noticed_in_the_set_up_and_later() {
    let (silent, server) = (Server::start().await, Server::start().await);
    let url = silent.url_with(&server);
    let over = json!({"request_timeout": "1s", "heartbeat": "2s"});
    // HELLO is answered, SUBSCRIBE is not.
    let (subscriber, _half, mut peer) = tokio::join!(subscriber(&url, over), silent.session(), server.subscription());
    let mut subscriber = subscriber.unwrap();
    peer.push("1", "a").await;
    take(&mut subscriber, 1).await;
    // Not read from now on, so that no heartbeat is answered.
    let mut again = server.subscription().await;
    again.push("1", "b").await;
    assert_eq!(id(&take(&mut subscriber, 1).await[0]), "b");
    drop(peer);
}

/// In standalone storage EventMesh 1.x gives a topic to one group; what a second one is told may pass.
#[tokio::test]
async fn a_subscription_that_is_refused_for_now_is_tried_again() {
    let server = Server::start().await;
    let url = server.url();
    let script = async {
        let mut peer = server.session().await;
        let request = peer.expect(Command::SubscribeRequest).await;
        let text = "org.apache.eventmesh.api.exception.StorageRuntimeException: topic:t is not exist";
        peer.answer(&request, 1, text).await;
        peer.closed().await;
        server.subscription().await
    };
    let (subscriber, _peer) = tokio::join!(within("a subscription", subscriber(&url, json!({}))), script);
    subscriber.unwrap();
    let script = async {
        let mut peer = server.session().await;
        let request = peer.expect(Command::SubscribeRequest).await;
        peer.answer(&request, 1, "AclException: no auth for topic t").await;
        peer
    };
    let (refused, _peer) = tokio::join!(within("a refusal", crate::subscriber(&url, json!({}))), script);
    let error = refused.err().unwrap();
    assert!(error.reason().contains("OC0314") && error.reason().contains("`t`"), "{error}");
}

/// Only heartbeats keep a session alive: they go out also while nobody takes the deliveries.
#[tokio::test]
async fn a_slow_consumer_keeps_its_session() {
    let server = Server::start().await;
    let (mut subscriber, mut peer) = connected(&server, json!({"heartbeat": "300ms"})).await;
    let count = 6000;
    let pushes = async {
        for number in 0..count {
            peer.push(&number.to_string(), &number.to_string()).await;
        }
        // Unanswered, so that they can be told from those before.
        let (mut beats, until) = (0, Instant::now() + Duration::from_secs(3));
        while let Ok(frame) = tokio::time::timeout_at(until.into(), futures_util::StreamExt::next(&mut peer.0)).await {
            let frame = frame.expect("the client closed the connection").unwrap();
            assert_eq!(frame.header.cmd, Command::HeartbeatRequest);
            peer.answer(&frame, 0, "success").await;
            beats += 1;
        }
        beats
    };
    let beats = within("heartbeats", pushes).await;
    assert!(beats >= 3, "{beats} heartbeats");
    let taken = take(&mut subscriber, count).await;
    assert!(
        taken
            .iter()
            .enumerate()
            .all(|(number, delivery)| id(delivery) == number.to_string())
    );
}

#[tokio::test]
async fn closing_takes_no_longer_than_one_request_may() {
    let server = Server::start().await;
    let (mut subscriber, mut peer) = connected(&server, json!({"request_timeout": "1s"})).await;
    peer.push("1", "a").await;
    let taken = take(&mut subscriber, 1).await;
    let started = Instant::now();
    subscriber.stop().await;
    // Still goes out, after the stop.
    taken.into_iter().for_each(|delivery| delivery.ack.ack());
    let mut seen = [peer.next().await.unwrap().header.cmd, peer.next().await.unwrap().header.cmd];
    seen.sort_by_key(|command| command.name());
    assert_eq!(seen, [Command::AsyncMessageToClientAck, Command::UnsubscribeRequest]);
    within("the end", subscriber.close()).await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
