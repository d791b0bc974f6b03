//! Conversations over TCP.

use std::collections::{BTreeSet, HashMap};

use bytes::BytesMut;
use cloudevents::{AttributesReader, Event};
use openconnect_protocol::frame::{Command, Frame, FrameCodec};
use openconnect_protocol::wire;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_util::codec::{Decoder, FramedRead};

use super::conversations::{Line, What};
use super::{Compared, WAIT, mesh};

struct Connection {
    writer: OwnedWriteHalf,
    frames: mpsc::Receiver<Frame>,
    answers: Vec<Frame>,
    pushes: Vec<Frame>,
    /// Deliveries that were compared: the event's id and the mesh's number.
    compared: Vec<(String, String)>,
    /// The client has sent what is no frame.
    broken: bool,
}

impl Connection {
    async fn open(address: std::net::SocketAddr) -> Self {
        let (reader, writer) = TcpStream::connect(address).await.unwrap().into_split();
        let (to, frames) = mpsc::channel(1 << 16);
        tokio::spawn(async move {
            let mut frames = FramedRead::new(reader, FrameCodec::new(8 << 20));
            while let Some(Ok(frame)) = frames.next().await {
                if to.send(frame).await.is_err() {
                    return;
                }
            }
        });
        Self {
            writer,
            frames,
            answers: Vec::new(),
            pushes: Vec::new(),
            compared: Vec::new(),
            broken: false,
        }
    }

    /// Sorts what has come; `false` when nothing more comes.
    fn sort(&mut self) -> bool {
        loop {
            match self.frames.try_recv() {
                Ok(frame) if is_push(&frame) && frame.header.code == 0 => self.pushes.push(frame),
                Ok(frame) => self.answers.push(frame),
                Err(error) => return error == mpsc::error::TryRecvError::Empty,
            }
        }
    }

    async fn answer(&mut self, seq: &str, commands: [Command; 2]) -> Option<Frame> {
        let fits = |frame: &Frame| frame.header.seq == seq && commands.contains(&frame.header.cmd);
        until(|| {
            let open = self.sort();
            let at = self.answers.iter().position(fits);
            // What was answered before it, and not waited for, is no concern of this one.
            at.map(|at| Some(self.answers.remove(at))).or((!open).then_some(None))
        })
        .await
    }

    /// The delivery of this event, if it has come. Some recorded events share an id and differ in their content type.
    fn push(&mut self, wanted: &Event) -> Option<Frame> {
        self.sort();
        let is_it = |event: Event| event.id() == wanted.id() && event.datacontenttype() == wanted.datacontenttype();
        let at = self.pushes.iter().position(|frame| event(frame).is_some_and(is_it))?;
        let frame = self.pushes.remove(at);
        self.compared.push((wanted.id().to_owned(), frame.header.seq.clone()));
        Some(frame)
    }
}

/// Looks again and again until there is something, or it takes too long.
async fn until(mut look: impl FnMut() -> Option<Option<Frame>>) -> Option<Frame> {
    let looking = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(WAIT, looking).await.ok().flatten()
}

fn is_push(frame: &Frame) -> bool {
    matches!(
        frame.header.cmd,
        Command::AsyncMessageToClient | Command::BroadcastMessageToClient | Command::RequestToClient
    )
}

fn parse(bytes: &[u8]) -> Option<Frame> {
    FrameCodec::new(8 << 20).decode(&mut BytesMut::from(bytes)).ok().flatten()
}

fn event(frame: &Frame) -> Option<Event> {
    wire::decode(&frame.body).ok()
}

/// What both servers answered to the same request, or delivered of the same event.
fn difference(eventmesh: &Frame, ours: Option<&Frame>) -> Result<(), Option<&'static str>> {
    let desc = eventmesh.header.desc.as_deref().unwrap_or_default();
    let refused = eventmesh.header.code != 0;
    let Some(ours) = ours else {
        return Err(None);
    };
    if eventmesh.header.cmd != ours.header.cmd {
        return Err(is_push(eventmesh).then_some("mode-of-each"));
    }
    if eventmesh.header.code == ours.header.code {
        let events = is_push(eventmesh).then(|| event(eventmesh).zip(event(ours))).flatten();
        return events.map_or(Ok(()), |(theirs, own)| same_event(&theirs, &own));
    }
    let known = match eventmesh.header.cmd {
        _ if !refused => None,
        Command::AsyncMessageToServerAck | Command::SubscribeResponse if desc.contains("StorageRuntimeException") => Some("no-subscriber"),
        Command::AsyncMessageToServerAck => Some("accepts-more"),
        Command::ListenResponse if desc.contains("NullPointerException") => Some("null-fields"),
        _ => None,
    };
    Err(known)
}

/// EventMesh parses an event and prints it again; the mesh keeps it as it is.
fn same_event(theirs: &Event, own: &Event) -> Result<(), Option<&'static str>> {
    if theirs == own {
        return Ok(());
    }
    let json =
        |event: &Event| openconnect_protocol::payload::json(event).map(|text| serde_json::from_str::<serde_json::Value>(&text).unwrap());
    let bare = |event: &Event| {
        let mut bare = event.clone();
        bare.set_data_unchecked("");
        bare
    };
    let same_data = json(theirs) == json(own);
    if same_data && bare(theirs) == bare(own) {
        return Err(Some("data-as-sent"));
    }
    Err(same_data.then_some("extensions-as-sent"))
}

/// For every request, the place of its answer.
fn answers(lines: &[&Line]) -> HashMap<usize, usize> {
    let parse_line = |line: &&Line| match &line.what {
        What::Client(bytes) => (true, parse(bytes)),
        What::Server(bytes) => (false, parse(bytes)),
        _ => (false, None),
    };
    let parsed: Vec<_> = lines.iter().map(parse_line).collect();
    let mut taken = BTreeSet::new();
    let mut found = HashMap::new();
    for (at, (from_client, request)) in parsed.iter().enumerate() {
        let Some(request) = request.as_ref().filter(|_| *from_client) else {
            continue;
        };
        let reply = request.header.cmd.reply().unwrap_or(request.header.cmd);
        let answer = parsed.iter().enumerate().skip(at + 1).find(|(n, (from_client, answer))| {
            let fits = |a: &Frame| a.header.seq == request.header.seq && (a.header.cmd == reply || a.header.cmd == request.header.cmd);
            !from_client && lines[*n].of == lines[at].of && !taken.contains(n) && answer.as_ref().is_some_and(fits)
        });
        if let Some((n, _)) = answer {
            taken.insert(n);
            found.insert(at, n);
        }
    }
    found
}

pub async fn replay(lines: &[&Line], compared: &mut Compared) {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir).await;
    let answers = answers(lines);
    let answered: BTreeSet<usize> = answers.values().copied().collect();
    let mut open: HashMap<&str, Connection> = HashMap::new();
    // Ids of events that were recorded whole, so that the mesh has been given them.
    let mut published: BTreeSet<String> = BTreeSet::new();
    // The number that EventMesh gave a delivery, by connection: the event's id.
    let mut delivered: HashMap<(&str, String), String> = HashMap::new();
    for (at, line) in lines.iter().enumerate() {
        let of = line.of.as_str();
        match &line.what {
            What::Opened => {
                open.insert(of, Connection::open(mesh.tcp_addr()).await);
            }
            What::ClientClosed => drop(open.remove(of)),
            What::Cut => compared.skipped(),
            What::Client(bytes) => {
                let Some(connection) = open.get_mut(of) else { continue };
                let Some(frame) = parse(bytes) else {
                    // Whoever gets it may close the connection.
                    connection.broken = true;
                    let _ = connection.writer.write_all(bytes).await;
                    continue;
                };
                if frame.header.cmd.name().ends_with("_TO_CLIENT_ACK") {
                    if let Some(id) = delivered.get(&(of, frame.header.seq.clone())) {
                        acknowledge(&mut open, of, &frame, id).await;
                    }
                    continue;
                }
                published.extend(event(&frame).map(|event| event.id().to_owned()));
                // A connection that the mesh has closed shows in the missing answer.
                let _ = connection.writer.write_all(bytes).await;
                let Some(answer) = answers.get(&at) else { continue };
                let What::Server(bytes) = &lines[*answer].what else { continue };
                let theirs = parse(bytes).unwrap();
                if theirs.header.cmd == Command::ResponseToClient && theirs.header.code != 0 {
                    compared.differs(Some("request-reply"), line, String::new);
                    continue;
                }
                let ours = connection.answer(&frame.header.seq, [theirs.header.cmd, frame.header.cmd]).await;
                let outcome = match difference(&theirs, ours.as_ref()) {
                    Err(None) if connection.broken && ours.is_none() => Err(Some("no-frame")),
                    outcome => outcome,
                };
                compared.outcome(outcome, line, || format!("EventMesh: {theirs:?}, the mesh: {ours:?}"));
            }
            What::Server(bytes) => {
                let Some(theirs) = parse(bytes).filter(|frame| is_push(frame) && !answered.contains(&at)) else {
                    continue;
                };
                if theirs.header.code != 0 {
                    compared.differs(Some("carries-all"), line, String::new);
                    continue;
                }
                let Some(wanted) = event(&theirs) else {
                    compared.differs(Some("data-as-sent"), line, String::new);
                    continue;
                };
                if !published.contains(wanted.id()) {
                    compared.skipped();
                    continue;
                }
                delivered.insert((of, theirs.header.seq.clone()), wanted.id().to_owned());
                if line.step == "mixed-mode" || line.step == "broadcast-cmd" {
                    compared.differs(Some("mode-of-each"), line, String::new);
                    continue;
                }
                // Which member of a group gets an event is the server's own choice.
                let anywhere = theirs.header.cmd != Command::BroadcastMessageToClient;
                let ours = until(|| {
                    let own = open.get_mut(of).and_then(|c| c.push(&wanted));
                    let other = || open.values_mut().filter(|_| anywhere).find_map(|c| c.push(&wanted));
                    own.or_else(other).map(Some)
                })
                .await;
                compared.outcome(difference(&theirs, ours.as_ref()), line, || {
                    format!("EventMesh: {theirs:?}, the mesh: {ours:?}")
                });
            }
            What::ServerClosed | What::Other => {}
        }
    }
    mesh.shutdown().await;
}

/// Acknowledges the mesh's delivery of the event, which has another number there, where it was delivered.
async fn acknowledge<'a>(open: &mut HashMap<&'a str, Connection>, of: &'a str, recorded: &Frame, id: &str) {
    let number = |c: &Connection| c.compared.iter().rev().find(|(of, _)| of == id).map(|(_, seq)| seq.clone());
    let own = open.get(of).and_then(number).map(|seq| (of, seq));
    let Some((of, seq)) = own.or_else(|| open.iter().find_map(|(of, c)| Some((*of, number(c)?)))) else {
        return;
    };
    let mut header = recorded.header.clone();
    header.seq = seq;
    let mut out = BytesMut::new();
    openconnect_protocol::frame::encode(&header, &recorded.body, &mut out).unwrap();
    if let Some(connection) = open.get_mut(of) {
        let _ = connection.writer.write_all(&out).await;
    }
}
