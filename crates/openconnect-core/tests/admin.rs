//! The admin server: what it answers, and what it endures.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use openconnect_core::admin::{AdminServer, State, StatusHandle};
use openconnect_core::config::Guarantee;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

struct Server {
    address: SocketAddr,
    status: StatusHandle,
    stop: CancellationToken,
}

async fn server() -> Server {
    let status = StatusHandle::new("orders \"1\"", "http-sink", "1.2.3");
    let server = AdminServer::bind("127.0.0.1:0", status.clone(), "1.2.3", None).await.unwrap();
    let (address, stop) = (server.address(), CancellationToken::new());
    tokio::spawn(server.serve(stop.clone()));
    Server { address, status, stop }
}

/// Sends bytes and reads until the server closes.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::time::timeout(Duration::from_secs(10), exchange).await.unwrap()
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = raw(address, format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
    let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (code, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn readiness_follows_the_state() {
    let server = server().await;
    assert_eq!(get(server.address, "/livez").await.0, 200);
    for (state, code) in [
        (State::Starting, 503),
        (State::Running, 200),
        // Red only after ten seconds: a short loss of the target is no reason to restart.
        (State::Blocked("target down".to_owned()), 200),
        (State::Draining, 503),
        (State::Stopped, 503),
    ] {
        server.status.set_state(state.clone());
        assert_eq!(get(server.address, "/readyz").await.0, code, "{state:?}");
    }
    assert_eq!(get(server.address, "/nothing").await.0, 404);
}

#[tokio::test]
async fn status_tells_what_the_engine_set() {
    let server = server().await;
    let status = &server.status;
    status.set_state(State::Blocked("mesh down".to_owned()));
    status.set_guarantee(Guarantee::AtLeastOnce);
    status.set_position("p0", json!({"lsn": 5}));
    status.set_backlog(7);
    status.error(openconnect_core::codes::MESH_CLOSED, "connection refused");
    status.counts().delivered.fetch_add(3, Relaxed);
    let (code, body) = get(server.address, "/status").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(code, 200);
    assert_eq!(body["state"], "blocked");
    assert_eq!(body["reason"], "mesh down");
    assert_eq!(body["guarantee"], "at-least-once");
    assert_eq!(body["positions"]["p0"]["lsn"], 5);
    assert_eq!(body["backlog"], 7);
    assert_eq!(body["last_error"]["code"], "OC0301");
    assert_eq!(body["counts"]["delivered"], 3);
    assert_eq!(body["version"], "1.2.3");
}

#[tokio::test]
async fn metrics_are_well_formed() {
    let server = server().await;
    server.status.set_guarantee(Guarantee::EffectivelyOnce);
    server.status.counts().received.fetch_add(5, Relaxed);
    server.status.counts().retried.fetch_add(2, Relaxed);
    server.status.observe_write(Duration::from_millis(3));
    server.status.observe_write(Duration::from_secs(60));
    let (_, page) = get(server.address, "/metrics").await;
    for line in [
        r#"openconnect_events_total{connector="http-sink",name="orders \"1\"",outcome="received"} 5"#,
        r#"openconnect_retries_total{connector="http-sink",name="orders \"1\""} 2"#,
        r#"openconnect_guarantee{connector="http-sink",name="orders \"1\"",guarantee="effectively-once"} 1"#,
        r#"openconnect_write_seconds_bucket{connector="http-sink",name="orders \"1\"",le="0.002"} 0"#,
        r#"openconnect_write_seconds_bucket{connector="http-sink",name="orders \"1\"",le="0.005"} 1"#,
        r#"openconnect_write_seconds_bucket{connector="http-sink",name="orders \"1\"",le="+Inf"} 2"#,
        r#"openconnect_write_seconds_sum{connector="http-sink",name="orders \"1\""} 60.003"#,
    ] {
        assert!(page.lines().any(|l| l == line), "{line}\n{page}");
    }
    // Every sample belongs to a described family.
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|s| name.strip_suffix(s))
            .unwrap_or(name);
        assert!(
            page.contains(&format!("# HELP {family} ")) && page.contains(&format!("# TYPE {family} ")),
            "{name}"
        );
    }
}

#[tokio::test]
async fn garbage_and_giants_harm_nobody() {
    let server = server().await;
    let huge = format!("GET /livez HTTP/1.1\r\nhost: x\r\nx-huge: {}\r\n\r\n", "a".repeat(1 << 20));
    let answer = raw(server.address, huge.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(500));
    assert!(!raw(server.address, many.as_bytes()).await.starts_with("HTTP/1.1 200"));
    for bytes in [
        &[0_u8, 255, 1, 2, 3, 10, 10][..],
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[b'x'; 100_000],
    ] {
        let _ = raw(server.address, bytes).await;
    }
    assert!(
        raw(server.address, b"POST /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 405")
    );
    assert_eq!(get(server.address, "/livez").await.0, 200);
}

#[tokio::test]
async fn silent_connections_lose_their_place() {
    let server = server().await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    // The head's timeout frees the places of those that were let in.
    let answered = async {
        loop {
            let answer = raw(server.address, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
            if answer.starts_with("HTTP/1.1 200") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), answered).await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let server = server().await;
    let listen = server.address.to_string();
    let error = AdminServer::bind(&listen, server.status.clone(), "1", None).await.err().unwrap();
    assert_eq!(error.code, "OC0501");
    assert!(error.reason().contains(&listen), "{error}");
    server.stop.cancel();
}
