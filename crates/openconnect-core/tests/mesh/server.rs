//! A TCP server that does what the test says, frame by frame. Unless told otherwise it answers as EventMesh 1.x does.

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use openconnect_protocol::frame::{Command, Frame, FrameCodec, Header};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Encoder, Framed};

use crate::within;

pub struct Server(pub TcpListener);

/// One connection, from the server's side.
pub struct Peer(pub Framed<TcpStream, FrameCodec>);

impl Server {
    pub async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    pub fn url(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port())
    }

    /// A URL that names this server first, then the other.
    pub fn url_with(&self, second: &Self) -> String {
        format!("{},127.0.0.1:{}", self.url(), second.port())
    }

    pub async fn accept(&self) -> Peer {
        let (stream, _) = within("a connection", self.0.accept()).await.unwrap();
        Peer::new(stream)
    }

    /// A connection that has said HELLO and got its answer, as EventMesh 1.x gives it.
    pub async fn session(&self) -> Peer {
        self.session_with(&[]).await
    }

    /// The same from a server that keeps order on refusal.
    pub async fn ordered_session(&self) -> Peer {
        self.session_with(&[("openconnectorderedrefusal", "true")]).await
    }

    async fn session_with(&self, properties: &[(&str, &str)]) -> Peer {
        let mut peer = self.accept().await;
        let hello = peer.expect(Command::HelloRequest).await;
        let mut header = Header::answer(Command::HelloResponse, hello.header.seq, 0, "success");
        for (name, value) in properties {
            header = header.with_property(name, *value);
        }
        peer.send(header, b"").await;
        peer
    }

    /// A session that has subscribed and listens.
    pub async fn subscription(&self) -> Peer {
        let mut peer = self.session().await;
        for command in [Command::SubscribeRequest, Command::ListenRequest] {
            let request = peer.expect(command).await;
            peer.answer(&request, 0, "success").await;
        }
        peer
    }
}

impl Peer {
    pub fn new(stream: TcpStream) -> Self {
        Self(Framed::new(stream, FrameCodec::new(64 << 20)))
    }

    /// The next frame; heartbeats are answered on the way.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = within("a frame", self.0.next()).await?.ok()?;
            if frame.header.cmd != Command::HeartbeatRequest {
                return Some(frame);
            }
            self.answer(&frame, 0, "success").await;
        }
    }

    pub async fn expect(&mut self, command: Command) -> Frame {
        let frame = self.next().await.expect("the client closed the connection");
        assert_eq!(frame.header.cmd, command, "{frame:?}");
        frame
    }

    /// The next publish, and its event's id.
    pub async fn publish(&mut self) -> (Frame, String) {
        let frame = self.expect(Command::AsyncMessageToServer).await;
        let id = id(&frame);
        (frame, id)
    }

    /// Takes publishes and gives their ids.
    pub async fn publishes(&mut self, count: usize) -> (Vec<Frame>, Vec<String>) {
        let mut taken = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (frame, id) = self.publish().await;
            taken.0.push(frame);
            taken.1.push(id);
        }
        taken
    }

    /// The client has closed the connection, whatever it sent before.
    pub async fn closed(&mut self) {
        while self.next().await.is_some() {}
    }

    pub async fn send(&mut self, header: Header, body: &[u8]) {
        // The client may be gone: what follows shows it.
        let body = Bytes::copy_from_slice(body);
        let _ = self.0.send(Frame { header, body }).await;
    }

    /// Bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    pub async fn answer(&mut self, request: &Frame, code: i32, desc: &str) {
        let header = Header::answer(request.header.cmd.reply().unwrap(), request.header.seq.clone(), code, desc);
        self.send(header, b"").await;
    }

    /// Confirms a publish.
    pub async fn confirm(&mut self, publish: &Frame) {
        self.confirm_as(&publish.header.seq, &id(publish)).await;
    }

    /// Confirms the event `id` under the number `seq`; the body is what Java prints of an event.
    pub async fn confirm_as(&mut self, seq: &str, id: &str) {
        let body = json!({"data":{"node":{"n":1}},"id":id,"source":"/test","type":"t","specVersion":"V1"});
        let header = Header::answer(Command::AsyncMessageToServerAck, seq, 0, "success");
        self.send(header, body.to_string().as_bytes()).await;
    }

    pub async fn refuse(&mut self, publish: &Frame, desc: &str) {
        self.answer(publish, 1, desc).await;
    }

    /// Refuses as `openconnect-mesh` does.
    pub async fn refuse_as(&mut self, publish: &Frame, kind: &str) {
        let header = Header::answer(Command::AsyncMessageToServerAck, publish.header.seq.clone(), 1, "no");
        self.send(header.with_property("openconnectrefusal", kind), b"").await;
    }

    pub async fn goodbye(&mut self) {
        let text = "graceful normal quit from eventmesh";
        self.send(Header::answer(Command::ServerGoodbyeRequest, "", 0, text), b"").await;
    }

    pub async fn redirect(&mut self, body: &Value) {
        let header = Header::answer(Command::RedirectToClient, "", 0, "success");
        self.send(header, body.to_string().as_bytes()).await;
    }

    /// Delivers an event as it is.
    pub async fn push_body(&mut self, seq: &str, body: &[u8]) {
        let header = Header::new(Command::AsyncMessageToClient, seq).with_property("protocoltype", "cloudevents");
        self.send(header, body).await;
    }

    pub async fn push(&mut self, seq: &str, id: &str) {
        let body = json!({"specversion":"1.0","id":id,"source":"/test","type":"t","subject":"t",
            "datacontenttype":"application/cloudevents+json","data":{"n":1}});
        self.push_body(seq, body.to_string().as_bytes()).await;
    }
}

pub fn id(publish: &Frame) -> String {
    let body: Value = serde_json::from_slice(&publish.body).unwrap();
    body["id"].as_str().unwrap().to_owned()
}

/// A frame's bytes.
pub fn encoded(header: Header, body: &[u8]) -> Vec<u8> {
    let (mut out, body) = (BytesMut::new(), Bytes::copy_from_slice(body));
    FrameCodec::new(1 << 20).encode(Frame { header, body }, &mut out).unwrap();
    out.to_vec()
}
