//! What systemd is told: ready when it is, alive while it is, stopping when it does.
#![allow(clippy::unwrap_used, missing_docs)]

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use openconnect_testkit::connector::Connector;
use openconnect_testkit::kit::Kit;
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::receiver::Receiver;
use rustix::process::Signal;
use serde_json::json;

/// Reads until a message has `wanted`; all that came.
fn until(socket: &UnixDatagram, wanted: &str) -> String {
    let end = Instant::now() + Duration::from_secs(20);
    let (mut all, mut buffer) = (String::new(), [0; 4096]);
    while Instant::now() < end {
        if let Ok(length) = socket.recv(&mut buffer) {
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            all.push_str(&message);
            if message.lines().any(|line| line == wanted) {
                return all;
            }
        }
    }
    panic!("no {wanted}: {all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_waits_for_the_mesh_and_the_watchdog_is_fed_meanwhile() {
    let kit = Kit::new("systemd").unwrap();
    let receiver = Receiver::start().await.unwrap();
    let mut mesh = Mesh::start(&kit, json!({})).await.unwrap();
    mesh.process.kill().await.unwrap();
    let path = kit.file("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let settings = json!({ "mesh": { "url": mesh.url(), "topic": "orders", "reconnect_max": "200ms" }, "sink": { "url": receiver.url() } });
    let mut sink = Connector::prepare(&kit, "openconnect-http-sink", "out", settings).unwrap();
    sink.program.environment = vec![
        ("NOTIFY_SOCKET".to_owned(), path.to_string_lossy().into_owned()),
        ("WATCHDOG_USEC".to_owned(), "300000".to_owned()),
    ];
    sink.launch().unwrap();
    let before = until(&socket, "WATCHDOG=1") + &until(&socket, "WATCHDOG=1");
    assert!(!before.contains("READY=1"), "{before}");
    mesh.restart().await.unwrap();
    let ready = until(&socket, "READY=1");
    assert!(ready.contains("STATUS=running") || ready.contains("WATCHDOG=1"), "{ready}");
    until(&socket, "WATCHDOG=1");
    sink.process().unwrap().signal(Signal::TERM).unwrap();
    until(&socket, "STOPPING=1");
}
