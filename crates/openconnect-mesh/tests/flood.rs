#![allow(clippy::unwrap_used, missing_docs)]
//! Ten thousand idle connections and a thousand that send garbage, beside a publisher and a subscriber that go on working.

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use openconnect_protocol::frame::{self, Command as Cmd, Header};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use support::*;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

const IDLE: usize = 10_000;
const GARBAGE: usize = 1000;
/// Files besides the connections.
const SPARE: usize = 1000;
/// What the mesh may take in memory, in MiB: 16 KiB for each connection, and what it takes anyway, in a debug build.
const MAX_MIB: u64 = 256;
/// Generous: the machine may have other things to do.
const SLOWEST: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(120);

/// As many idle connections as this process may open, up to all.
fn idle_connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let needed = (IDLE + GARBAGE + SPARE) as u64;
    let allowed = limit.maximum.unwrap_or(needed).min(needed);
    if limit.current.is_some_and(|current| current < allowed) {
        let raised = Rlimit {
            current: Some(allowed),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).unwrap();
    }
    let idle = usize::try_from(allowed).unwrap().saturating_sub(GARBAGE + SPARE);
    if idle < IDLE {
        println!("only {idle} idle connections: the system allows {allowed} open files");
    }
    idle
}

async fn start(dir: &tempfile::TempDir) -> (Child, SocketAddr) {
    let file = dir.path().join("mesh.yaml");
    let settings = json!({
        "data": dir.path().join("data"), "tcp": "127.0.0.1:0", "grpc": null, "fsync": false,
        "limits": { "max_connections": IDLE + 2 * GARBAGE, "session_timeout": "10m", "handshake_timeout": "1m" },
    });
    std::fs::write(&file, settings.to_string()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_openconnect-mesh"))
        .arg("run")
        .arg("--config")
        .arg(file)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (said, tcp) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut said = Some(said);
        // Also after that: a mesh that logs must not wait for a reader.
        while let Ok(Some(line)) = lines.next_line().await {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if let (Some(tcp), true) = (line["tcp"].as_str(), said.is_some()) {
                let _ = said.take().unwrap().send(tcp.parse().unwrap());
            }
        }
    });
    let tcp = tokio::time::timeout(WAIT, tcp).await.expect("no word from the mesh").unwrap();
    (child, tcp)
}

/// A connection from one of a few client addresses.
async fn connect(number: usize, mesh: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let last = u8::try_from(number % 20 + 2).unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
    socket.connect(mesh).await
}

async fn idle(number: usize, mesh: SocketAddr, hello: Arc<bytes::BytesMut>) -> TcpStream {
    let mut stream = connect(number, mesh).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    let mut answer = [0; 64];
    assert!(stream.read(&mut answer).await.unwrap() > 0, "HELLO was not answered");
    stream
}

/// Sends something that is no frame, until the mesh closes the connection.
async fn garbage(number: usize, mesh: SocketAddr) {
    let mut state = number as u64 | 1;
    let mut noise: Vec<u8> = (0..2000)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    match number % 4 {
        0 => noise.splice(..0, *b"EventMesh0000").for_each(drop),
        1 => noise.splice(..0, *b"EventMesh0000\x7f\xff\xff\xff\0\0\0\0").for_each(drop),
        2 => noise.splice(..0, *b"EventMesh0000\0\0\x01\0\0\0\0\x10{\"cmd\":\"").for_each(drop),
        _ => {}
    }
    let Ok(mut stream) = connect(number, mesh).await else { return };
    let _ = stream.write_all(&noise).await;
    let _ = stream.shutdown().await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}

/// Publishes and receives; the slowest of it.
async fn work(publisher: &mut Client, subscriber: &mut Client, round: &str, count: usize) -> Duration {
    let mut slowest = Duration::ZERO;
    for n in 0..count {
        let started = Instant::now();
        let name = format!("{round}-{n}");
        publisher.publish_ids("t", [name.clone()]).await;
        let delivery = subscriber.next().await;
        subscriber.ack(&delivery).await;
        assert_eq!(id(&delivery), name);
        slowest = slowest.max(started.elapsed());
    }
    slowest
}

/// Resident memory in MiB.
fn memory(mesh: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", mesh.id().unwrap())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_connections_leaves_the_rest_unharmed() {
    let count = idle_connections();
    let dir = tempfile::tempdir().unwrap();
    let (mesh, tcp) = start(&dir).await;
    let mut publisher = Client::publisher(tcp).await;
    let mut subscriber = Client::subscriber(tcp, "g", "t").await;
    let alone = work(&mut publisher, &mut subscriber, "alone", 50).await;
    let small = memory(&mesh);

    let mut hello = bytes::BytesMut::new();
    frame::encode(
        &Header::new(Cmd::HelloRequest, "1"),
        agent("idlers", "pub").to_string().as_bytes(),
        &mut hello,
    )
    .unwrap();
    let hello = Arc::new(hello);
    let opening = async {
        let mut idlers = Vec::with_capacity(count);
        for first in (0..count).step_by(200) {
            let mut some = JoinSet::new();
            for number in first..count.min(first + 200) {
                some.spawn(idle(number, tcp, Arc::clone(&hello)));
            }
            idlers.extend(some.join_all().await);
        }
        idlers
    };
    let idlers = tokio::time::timeout(LONG, opening)
        .await
        .expect("the idle connections were not taken");
    let with_idlers = work(&mut publisher, &mut subscriber, "idle", 50).await;
    let large = memory(&mesh);

    let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut attackers = JoinSet::new();
    for number in 0..GARBAGE {
        let (over, sent) = (Arc::clone(&over), Arc::clone(&sent));
        attackers.spawn(async move {
            // Again and again, but not for ever.
            for _ in 0..10 {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                garbage(number, tcp).await;
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let under_fire = work(&mut publisher, &mut subscriber, "fire", 50).await;
    over.store(true, Ordering::Relaxed);
    tokio::time::timeout(LONG, attackers.join_all())
        .await
        .expect("garbage was not refused");
    println!(
        "slowest of 50 events: alone {alone:?}, with {count} idle connections {with_idlers:?}, and {} times garbage {under_fire:?}; \
         memory {small} MiB, {large} MiB",
        sent.load(Ordering::Relaxed)
    );
    assert!(sent.load(Ordering::Relaxed) >= GARBAGE);
    assert!(with_idlers < SLOWEST && under_fire < SLOWEST);
    assert!(large < MAX_MIB, "{large} MiB");

    // The idle ones are still there, and so are their sessions.
    for mut idler in idlers.into_iter().step_by(1000) {
        let mut beat = bytes::BytesMut::new();
        frame::encode(&Header::new(Cmd::HeartbeatRequest, "2"), b"", &mut beat).unwrap();
        idler.write_all(&beat).await.unwrap();
        let mut answer = vec![0; 1024];
        let mut got = 0;
        while !String::from_utf8_lossy(&answer[..got]).contains("HEARTBEAT_RESPONSE") {
            let read = tokio::time::timeout(WAIT, idler.read(&mut answer[got..])).await.unwrap().unwrap();
            assert!(read > 0, "an idle connection was closed");
            got += read;
        }
    }
}
