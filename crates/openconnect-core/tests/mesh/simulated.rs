//! EventMesh 1.x on its standalone storage, as far as recordings of it tell: the limits that a client meets there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use openconnect_protocol::frame::{Command, Frame};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::server::{Peer, Server, id};

/// The group that has the topic, and its sessions.
type Topics = Arc<Mutex<HashMap<String, (String, Vec<mpsc::Sender<String>>)>>>;

/// Serves until the test ends.
pub async fn start() -> String {
    let server = Server::start().await;
    let url = server.url();
    tokio::spawn(async move {
        let topics = Topics::default();
        loop {
            // A client that tries servers may take its time.
            let (stream, _) = server.0.accept().await.unwrap();
            tokio::spawn(session(Peer::new(stream), Arc::clone(&topics)));
        }
    });
    url
}

async fn session(mut peer: Peer, topics: Topics) {
    let (to_here, mut pushes) = mpsc::channel::<String>(4096);
    let (mut group, mut seq) = (String::new(), 0);
    loop {
        let frame = tokio::select! {
            frame = peer.0.next() => frame,
            Some(id) = pushes.recv() => {
                seq += 1;
                peer.push_body(&seq.to_string(), id.as_bytes()).await;
                continue;
            }
        };
        let Some(Ok(frame)) = frame else { break };
        match frame.header.cmd {
            Command::HelloRequest => group = body(&frame)["group"].as_str().unwrap().to_owned(),
            Command::SubscribeRequest => {
                let topic = body(&frame)["topicList"][0]["topic"].as_str().unwrap().to_owned();
                let mut topics = topics.lock().unwrap();
                let (owner, sessions) = topics.entry(topic).or_insert_with(|| (group.clone(), Vec::new()));
                // Another group is told that all is well, and gets nothing.
                if *owner == group {
                    sessions.push(to_here.clone());
                }
            }
            Command::AsyncMessageToServer => {
                publish(&mut peer, &frame, &topics).await;
                continue;
            }
            // Consumed, with or without it.
            Command::AsyncMessageToClientAck => continue,
            _ => {}
        }
        peer.answer(&frame, 0, "success").await;
    }
    // With its last session a topic is forgotten, and all in it.
    topics.lock().unwrap().retain(|_, (_, sessions)| {
        sessions.retain(|session| !session.same_channel(&to_here));
        !sessions.is_empty()
    });
}

async fn publish(peer: &mut Peer, frame: &Frame, topics: &Topics) {
    let event = body(frame);
    let data = event["data"].as_str().map_or_else(|| event["data"].to_string(), str::to_owned);
    if data.encode_utf16().count() > 1000 {
        return peer.refuse(frame, "java.lang.Exception: event size exceeds the limit: 1000").await;
    }
    let topic = event["subject"].as_str().unwrap();
    let session = topics
        .lock()
        .unwrap()
        .get(topic)
        .and_then(|(_, sessions)| sessions.first().cloned());
    let Some(session) = session else {
        let text = format!("org.apache.eventmesh.api.exception.StorageRuntimeException: Send message error, topic: {topic}");
        return peer.refuse(frame, &text).await;
    };
    let _ = session.send(String::from_utf8(frame.body.to_vec()).unwrap()).await;
    peer.confirm_as(&frame.header.seq, &id(frame)).await;
}

fn body(frame: &Frame) -> Value {
    serde_json::from_slice(&frame.body).unwrap()
}
