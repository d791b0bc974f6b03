#![allow(clippy::unwrap_used, dead_code, missing_docs, unreachable_pub)]
//! A small TCP client that shows every frame.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use openconnect_mesh::{Config, Mesh, MeshHandle};
use openconnect_protocol::frame::{Command, Frame, FrameCodec, Header};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;

pub const WAIT: Duration = Duration::from_secs(10);

pub struct Client {
    pub framed: Framed<TcpStream, FrameCodec>,
    seq: u64,
}

pub async fn mesh(dir: &tempfile::TempDir, change: impl FnOnce(&mut Config)) -> MeshHandle {
    let mut config = Config::embedded(dir.path());
    config.fsync = false;
    change(&mut config);
    Mesh::start(config).await.unwrap()
}

pub fn event(topic: &str, id: &str) -> Value {
    json!({"specversion":"1.0","id":id,"source":"/test","type":"t","datacontenttype":"application/cloudevents+json",
        "subject":topic,"data":{"n":1}})
}

impl Client {
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        Self {
            framed: Framed::new(stream, FrameCodec::new(8 << 20)),
            seq: 0,
        }
    }

    pub async fn hello_as(addr: SocketAddr, agent: Value, properties: &[(&str, &str)]) -> (Self, Frame) {
        let mut client = Self::connect(addr).await;
        let mut header = Header::new(Command::HelloRequest, "hello");
        for (name, value) in properties {
            header = header.with_property(name, *value);
        }
        client.send(header, &agent).await;
        let answer = client.next().await;
        assert_eq!(answer.header.cmd, Command::HelloResponse);
        (client, answer)
    }

    pub async fn hello(addr: SocketAddr, group: &str, purpose: &str) -> Self {
        let (client, answer) = Self::hello_as(addr, agent(group, purpose), &[]).await;
        assert_eq!(answer.header.code, 0, "{:?}", answer.header);
        client
    }

    pub async fn publisher(addr: SocketAddr) -> Self {
        Self::hello(addr, "publishers", "pub").await
    }

    pub async fn subscriber(addr: SocketAddr, group: &str, topic: &str) -> Self {
        let mut client = Self::hello(addr, group, "sub").await;
        client.subscribe(topic, "CLUSTERING", "ASYNC").await;
        client
    }

    pub async fn subscribe(&mut self, topic: &str, mode: &str, kind: &str) {
        let body = json!({"topicList":[{"topic":topic,"mode":mode,"type":kind}]});
        let answer = self.call(Command::SubscribeRequest, &body).await;
        assert_eq!(
            (answer.header.cmd, answer.header.code),
            (Command::SubscribeResponse, 0),
            "{:?}",
            answer.header
        );
        let answer = self.call(Command::ListenRequest, &Value::Null).await;
        assert_eq!(
            (answer.header.cmd, answer.header.code),
            (Command::ListenResponse, 0),
            "{:?}",
            answer.header
        );
    }

    pub async fn send(&mut self, header: Header, body: &Value) {
        let body = if body.is_null() {
            Vec::new()
        } else {
            serde_json::to_vec(body).unwrap()
        };
        self.framed.send(Frame { header, body: body.into() }).await.unwrap();
    }

    pub async fn call(&mut self, cmd: Command, body: &Value) -> Frame {
        self.seq += 1;
        let seq = format!("c{}", self.seq);
        self.send(Header::new(cmd, seq.clone()), body).await;
        let answer = self.next().await;
        assert_eq!(answer.header.seq, seq, "{:?}", answer.header);
        answer
    }

    /// The next frame, or none when the connection was closed.
    pub async fn try_next(&mut self) -> Option<Frame> {
        tokio::time::timeout(WAIT, self.framed.next())
            .await
            .expect("nothing came in time")?
            .ok()
    }

    pub async fn next(&mut self) -> Frame {
        self.try_next().await.expect("the connection was closed")
    }

    pub async fn nothing(&mut self) {
        let got = tokio::time::timeout(Duration::from_millis(150), self.framed.next()).await;
        assert!(got.is_err(), "{got:?}");
    }

    pub async fn send_event(&mut self, cmd: Command, seq: &str, body: &Value) {
        let header = Header::new(cmd, seq)
            .with_property("protocoltype", "cloudevents")
            .with_property("protocolversion", "1.0")
            .with_property("protocoldesc", "tcp");
        self.send(header, body).await;
    }

    pub async fn publish(&mut self, body: &Value) -> Frame {
        self.seq += 1;
        let seq = format!("p{}", self.seq);
        self.send_event(Command::AsyncMessageToServer, &seq, body).await;
        let ack = self.next().await;
        assert_eq!((ack.header.cmd, &ack.header.seq), (Command::AsyncMessageToServerAck, &seq));
        ack
    }

    pub async fn publish_ids(&mut self, topic: &str, ids: impl IntoIterator<Item = String>) {
        for id in ids {
            let ack = self.publish(&event(topic, &id)).await;
            assert_eq!(ack.header.code, 0, "{:?}", ack.header);
            let body: Value = serde_json::from_slice(&ack.body).unwrap();
            assert_eq!(body["id"], id);
        }
    }

    pub async fn ack(&mut self, delivery: &Frame) {
        let header = Header::new(delivery.header.cmd.reply().unwrap(), delivery.header.seq.clone());
        self.send(header, &Value::Null).await;
    }

    /// Takes `count` deliveries without acknowledging.
    pub async fn take(&mut self, count: usize) -> Vec<Frame> {
        let mut got = Vec::new();
        while got.len() < count {
            got.push(self.next().await);
        }
        got
    }

    pub async fn take_and_ack(&mut self, count: usize) -> Vec<String> {
        let mut got = Vec::new();
        for _ in 0..count {
            let frame = self.next().await;
            self.ack(&frame).await;
            got.push(id(&frame));
        }
        got
    }
}

pub fn agent(group: &str, purpose: &str) -> Value {
    json!({"env":"t","subsystem":"s","path":"/","pid":1,"host":"h","port":1,"version":"2.0","username":"u",
        "password":"p","idc":"i","group":group,"purpose":purpose,"unack":0})
}

pub fn body(frame: &Frame) -> Value {
    serde_json::from_slice(&frame.body).unwrap_or_else(|e| panic!("{e}: {frame:?}"))
}

pub fn id(frame: &Frame) -> String {
    body(frame)["id"].as_str().unwrap().to_owned()
}

pub fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("e{n}")).collect()
}
