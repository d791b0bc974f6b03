//! What nobody should send or configure, against the real binaries: a clear error, and nothing lost.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use openconnect_testkit::connector::{Connector, merge};
use openconnect_testkit::http::Client;
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::oracle::judge;
use openconnect_testkit::process::FileLimit;
use openconnect_testkit::receiver::Receiver;
use openconnect_testkit::sender::{Load, Sender};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LONG: Duration = Duration::from_secs(60);
const JSON: &str = "application/json";

fn sink_settings(mesh: &Mesh, target: &str) -> Value {
    json!({
        "mesh": { "url": mesh.url(), "topic": "orders", "reconnect_max": "200ms" },
        "sink": { "url": target },
        "delivery": { "retry": { "initial": "20ms", "max": "200ms" } },
    })
}

async fn source(kit: &Kit, mesh: &Mesh, extra: Value) -> (Connector, SocketAddr) {
    let address = free_address().unwrap();
    let mut settings =
        json!({ "mesh": { "url": mesh.url(), "topic": "orders", "reconnect_max": "200ms" }, "source": { "listen": address } });
    merge(&mut settings, extra);
    let connector = Connector::start(kit, "openconnect-http-source", "hook", settings).await.unwrap();
    (connector, address)
}

/// Sends bytes as they are; what came back before the server closed, or within two seconds.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(2), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_mistakes_are_told_at_once_with_the_nearest_names() {
    let kit = Kit::new("three_mistakes").unwrap();
    let settings = json!({
        "mesh": { "url": "tcp://127.0.0.1:1", "topik": "orders", "topic": "orders" },
        "sink": { "url": "http://127.0.0.1:1/", "mod": "batch" },
        "delivery": { "orderng": "key" },
    });
    let sink = Connector::prepare(&kit, "openconnect-http-sink", "out", settings).unwrap();
    let refused = sink.finish().await.unwrap();
    let text = refused.text();
    println!("{text}");
    assert_eq!(refused.code, Some(78), "{text}");
    for part in ["topik", "`topic`", "orderng", "`ordering`", "`mode`"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_and_an_unknown_topic_end_the_start() {
    let kit = Kit::new("wrong_password").unwrap();
    let users = json!({ "users": { "user": "right" }, "topics": { "auto_create": false } });
    let mesh = Mesh::start(&kit, users).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    for url in [mesh.url(), mesh.grpc_url()] {
        for (password, code) in [("wrong", "OC0305"), ("right", "OC0314")] {
            let mut settings = sink_settings(&mesh, &receiver.url());
            merge(
                &mut settings,
                json!({ "mesh": { "url": url, "username": "user", "password": password } }),
            );
            let refused = Connector::prepare(&kit, "openconnect-http-sink", "out", settings)
                .unwrap()
                .finish()
                .await
                .unwrap();
            let text = refused.text();
            assert_eq!(refused.code, Some(69), "{url} {password}: {text}");
            assert!(text.contains(code), "{url} {password}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_every_port_harms_nobody() {
    let kit = Kit::new("garbage").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let (hook, address) = source(&kit, &mesh, json!({})).await;
    let out = Connector::start(&kit, "openconnect-http-sink", "out", sink_settings(&mesh, &receiver.url()))
        .await
        .unwrap();
    let long = vec![b'A'; 1 << 20];
    let zeros = vec![0; 4096];
    let claims = [b"EventMesh".as_slice(), b"0000", &[0xff; 64]].concat();
    for port in [mesh.tcp, mesh.grpc, address, hook.admin, out.admin] {
        for garbage in [
            &long[..],
            &zeros,
            &claims,
            b"\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxxxxx",
            &[0x16, 3, 1, 0, 5, 1, 2, 3],
        ] {
            let mut stream = TcpStream::connect(port).await.unwrap();
            let _ = stream.write_all(garbage).await;
        }
    }
    let sending = Sender::start(&Load::new(address), 100).finish(LONG).await.unwrap();
    receiver.wait_for(sending.confirmed.len(), LONG).await.unwrap();
    assert!(judge(&sending.confirmed, &[], &receiver.arrived()).is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_cannot_be_taken_get_a_problem() {
    let kit = Kit::new("bad_requests").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let (mut hook, address) = source(&kit, &mesh, json!({})).await;
    let mut client = Client::new(address, Duration::from_secs(10));
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..512 {
        bomb.write_all(&[b' '; 128 << 10]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    let cloudevent = "application/cloudevents+json";
    for (what, headers, body, codes) in [
        ("5 MB", vec![("content-type", JSON)], vec![b'1'; 5 << 20], &[413][..]),
        (
            "a bomb",
            vec![("content-type", JSON), ("content-encoding", "gzip")],
            bomb,
            &[413, 400],
        ),
        (
            "an unknown encoding",
            vec![("content-type", JSON), ("content-encoding", "lzma")],
            b"x".to_vec(),
            &[415],
        ),
        (
            "no UTF-8",
            vec![("content-type", cloudevent)],
            b"{\"id\":\"\xff\xfe\"}".to_vec(),
            &[400],
        ),
        ("no JSON", vec![("content-type", cloudevent)], b"{".to_vec(), &[400]),
    ] {
        let answer = match client.send("POST".parse().unwrap(), "/", &headers, body.into()).await {
            Ok(answer) => answer,
            // A server may answer and close before everything was sent; seen by a raw client below.
            Err(_) if what == "5 MB" => continue,
            Err(error) => panic!("{what}: {error}"),
        };
        assert!(
            codes.contains(&answer.status.as_u16()),
            "{what}: {} {}",
            answer.status,
            answer.text()
        );
        assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
        client = Client::new(address, Duration::from_secs(10));
    }
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let large = raw(address, format!("{head}content-length: 5242880\r\n\r\n").as_bytes()).await;
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
    let header = raw(address, format!("{head}x-large: {}\r\n\r\n", "x".repeat(1 << 20)).as_bytes()).await;
    assert!(header.is_empty() || header.starts_with("HTTP/1.1 4"), "{header}");
    let mut endless = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..64 {
        endless.extend_from_slice(b"8000\r\n");
        endless.extend_from_slice(&[b' '; 0x8000]);
        endless.extend_from_slice(b"\r\n");
    }
    let endless = raw(address, &endless).await;
    assert!(endless.is_empty() || endless.starts_with("HTTP/1.1 413"), "{endless}");
    let peak = hook.process().unwrap().peak_memory().unwrap();
    println!("source: peak {} MiB", peak >> 20);
    assert!(peak < 64 << 20, "{peak}");
    assert!(client.post("/", JSON, "{}").await.unwrap().status.is_success());
}

/// The mesh's disk is full: publishes are refused, what was confirmed before is there afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_loses_nothing() {
    let kit = Kit::new("full_disk").unwrap();
    let mut mesh = Mesh::start(&kit, json!({})).await.unwrap();
    mesh.process.terminate(Duration::from_secs(10)).await.unwrap();
    mesh.program.file_limit = Some(FileLimit::Blocks(1024));
    mesh.restart().await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let (_hook, address) = source(&kit, &mesh, json!({ "source": { "response_timeout": "1s" } })).await;
    let load = Load {
        padding: 2000,
        within: Duration::from_secs(3),
        ..Load::new(address)
    };
    let sender = Sender::start(&load, 2000);
    let end = std::time::Instant::now() + LONG;
    while sender.refused() < 5 {
        assert!(std::time::Instant::now() < end, "a full disk never made the source refuse");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    mesh.process.kill().await.unwrap();
    mesh.program.file_limit = None;
    mesh.restart().await.unwrap();
    let sending = sender.finish(LONG).await.unwrap();
    let _out = Connector::start(&kit, "openconnect-http-sink", "out", sink_settings(&mesh, &receiver.url()))
        .await
        .unwrap();
    receiver.wait_for(sending.confirmed.len(), LONG).await.unwrap();
    let verdict = judge(&sending.confirmed, &sending.open, &receiver.arrived());
    println!("{verdict}; refused {}", sending.refused);
    assert!(verdict.is_clean(), "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_of_another_connector_and_corrupt_state_are_refused() {
    let kit = Kit::new("foreign_state").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let mut out = Connector::start(&kit, "openconnect-http-sink", "out", sink_settings(&mesh, &receiver.url()))
        .await
        .unwrap();
    assert_eq!(out.process().unwrap().terminate(Duration::from_secs(10)).await.unwrap(), Some(0));
    let mut settings = sink_settings(&mesh, &format!("sqlite://{}", kit.file("t.db").display()));
    merge(&mut settings, json!({ "sink": { "table": "t" } }));
    let other = Connector::prepare(&kit, "openconnect-jdbc-sink", "out", settings)
        .unwrap()
        .finish()
        .await
        .unwrap();
    assert_eq!(other.code, Some(78), "{}", other.text());
    assert!(
        other.text().contains("OC0205") && other.text().contains("http-sink"),
        "{}",
        other.text()
    );
    std::fs::write(out.state.join("instance.json"), b"{\"connector\": \xff").unwrap();
    let again = Connector::prepare(&kit, "openconnect-http-sink", "out", sink_settings(&mesh, &receiver.url())).unwrap();
    let refused = again.finish().await.unwrap();
    assert_eq!(refused.code, Some(69), "{}", refused.text());
    assert!(
        refused.text().contains("instance.json") && refused.text().contains("OC02"),
        "{}",
        refused.text()
    );
}

/// Whatever keeps `run` from starting is found by `check --connect`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_finds_what_a_run_would_stop_at() {
    let kit = Kit::new("check_finds").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    let file = kit.file("a-file");
    std::fs::write(&file, "").unwrap();
    let missing = json!({ "cert_file": "/nope.pem", "key_file": "/nope.key" });
    let free = free_address().unwrap();
    for (what, settings, code) in [
        ("a port in use", json!({ "source": { "listen": port } }), "HTTP_LISTEN"),
        (
            "an unknown host",
            json!({ "source": { "listen": "no.such.host.invalid:80" } }),
            "HTTP_LISTEN",
        ),
        ("no certificate", json!({ "source": { "tls": missing } }), "OC0120"),
        ("a state folder that is a file", json!({ "state": { "dir": file } }), "OC0201"),
        ("an admin port in use", json!({ "admin": { "listen": port } }), "OC0501"),
        ("a long topic", json!({ "mesh": { "topic": "t".repeat(255) } }), "mesh.topic"),
        ("a topic with a line feed", json!({ "mesh": { "topic": "a\nb" } }), "mesh.topic"),
        ("a long group", json!({ "mesh": { "group": "g".repeat(300) } }), "mesh.group"),
        ("a group with a line feed", json!({ "mesh": { "group": "a\nb" } }), "mesh.group"),
        (
            "a long topic of dead letters",
            json!({ "dead_letter": { "topic": "é".repeat(50) } }),
            "dead_letter.topic",
        ),
    ] {
        let mut all = json!({ "mesh": { "url": mesh.url(), "topic": "orders" }, "source": { "listen": free } });
        merge(&mut all, settings);
        let hook = Connector::prepare(&kit, "openconnect-http-source", "hook", all).unwrap();
        for (command, finished) in [
            ("check", hook.command(&["check", "--connect"]).await.unwrap()),
            ("run", hook.finish().await.unwrap()),
        ] {
            let text = finished.text();
            assert!(
                matches!(finished.code, Some(69 | 78)),
                "{command} with {what}: {:?} {text}",
                finished.code
            );
            assert!(text.contains(code), "{command} with {what}: {text}");
        }
    }
}

/// The sender of an event that no mesh takes still has it: it is told, nothing is kept, and no number of such requests stops the source.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_the_mesh_refuses_stays_with_its_sender() {
    let kit = Kit::new("refused_by_mesh").unwrap();
    let mesh = Mesh::start(&kit, json!({ "limits": { "max_event_bytes": "20KiB" } }))
        .await
        .unwrap();
    for url in [mesh.url(), mesh.grpc_url()] {
        let (mut hook, address) = source(&kit, &mesh, json!({ "mesh": { "url": url } })).await;
        let mut client = Client::new(address, Duration::from_secs(10));
        let large = format!("\"{}\"", "x".repeat(40_000));
        for _ in 0..150 {
            let answer = client.post("/", JSON, large.clone()).await.unwrap();
            assert_eq!(answer.status, 413, "{url}: {}", answer.text());
        }
        let answer = client.post("/", JSON, "1").await.unwrap();
        assert_eq!(answer.status, 202, "{url}: {}", answer.text());
        let status = hook.status().await.unwrap();
        assert_eq!(status["counts"]["dead_lettered"], 0, "{url}: {status}");
        assert_eq!(hook.process().unwrap().terminate(Duration::from_secs(10)).await.unwrap(), Some(0));
    }
}
