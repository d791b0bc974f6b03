#![allow(clippy::unwrap_used, missing_docs)]
//! The binary: killed in the middle of publishing, looked at while it runs and after.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use openconnect_protocol::frame::Command as Cmd;
use support::*;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

async fn start(data: &Path) -> (Child, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_openconnect-mesh"))
        .args(["run", "--tcp", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data"])
        .arg(data)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let tcp = tokio::time::timeout(WAIT, async {
        loop {
            let line = lines.next_line().await.unwrap().expect("the mesh ended");
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if let Some(tcp) = line["tcp"].as_str() {
                return tcp.parse().unwrap();
            }
        }
    });
    let tcp = tcp.await.expect("the mesh did not say where it listens");
    (child, tcp)
}

async fn look(data: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_openconnect-mesh"))
        .args(args)
        .arg("--data")
        .arg(data)
        .output()
        .await
        .unwrap()
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let (mut child, tcp) = start(dir.path()).await;
        let mut publisher = Client::publisher(tcp).await;
        // Many in flight, so that the kill finds some on their way.
        for n in 0..300 {
            let id = format!("r{round}-{n}");
            publisher.send_event(Cmd::AsyncMessageToServer, &id, &event("t", &id)).await;
        }
        for _ in 0..150 {
            let ack = publisher.next().await;
            assert_eq!(ack.header.code, 0);
            acknowledged.push(ack.header.seq);
        }
        child.kill().await.unwrap();
    }
    // What a machine's failure may leave behind the last write.
    let topic = dir.path().join("topics/t");
    let mut segments: Vec<_> = fs::read_dir(&topic).unwrap().map(|e| e.unwrap().path()).collect();
    segments.retain(|p| p.extension().is_some_and(|e| e == "seg"));
    segments.sort();
    let last = segments.pop().unwrap();
    let mut bytes = fs::read(&last).unwrap();
    bytes.extend_from_slice(&[7, 0, 0, 0, 1, 2, 3]);
    fs::write(&last, bytes).unwrap();

    let (_child, tcp) = start(dir.path()).await;
    let mut subscriber = Client::subscriber(tcp, "g", "t").await;
    let mut seen = Vec::new();
    while seen.len() < acknowledged.len() || !acknowledged.iter().all(|id| seen.contains(id)) {
        let frame = subscriber.next().await;
        subscriber.ack(&frame).await;
        seen.push(id(&frame));
    }
    for round in 0..3 {
        let prefix = format!("r{round}-");
        let numbers: Vec<usize> = seen
            .iter()
            .filter_map(|id| id.strip_prefix(&prefix))
            .map(|n| n.parse().unwrap())
            .collect();
        assert!(numbers.is_sorted(), "round {round} is out of order");
    }
}

#[tokio::test]
async fn the_tools_look_while_it_runs_and_after() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, tcp) = start(dir.path()).await;
    let mut publisher = Client::publisher(tcp).await;
    publisher.publish_ids("orders", ids(0..3)).await;
    let mut subscriber = Client::subscriber(tcp, "g", "orders").await;
    subscriber.take_and_ack(2).await;
    for running in [true, false] {
        let topics = look(dir.path(), &["topics"]).await;
        assert!(
            String::from_utf8_lossy(&topics.stdout).contains("orders"),
            "running: {running}: {topics:?}"
        );
        let groups = look(dir.path(), &["groups"]).await;
        assert!(
            groups.status.success() && String::from_utf8_lossy(&groups.stdout).contains("orders"),
            "{groups:?}"
        );
        let shown = String::from_utf8_lossy(&groups.stdout).into_owned();
        let last = shown.split_whitespace().next_back();
        assert_eq!(last, Some(if running { "1" } else { "-" }), "subscribers: {shown}");
        let status = look(dir.path(), &["status"]).await;
        assert_eq!(status.status.success(), running, "{status:?}");
        if running {
            let shown = String::from_utf8_lossy(&status.stdout).into_owned();
            let tcp: Vec<_> = shown.lines().find(|l| l.starts_with("tcp")).unwrap().split_whitespace().collect();
            assert_eq!(tcp, ["tcp", "2", "0"]);
        }
        let tail = look(dir.path(), &["tail", "orders", "--from", "1"]).await;
        let text = String::from_utf8_lossy(&tail.stdout).into_owned();
        assert!(text.contains("e0") && text.contains("e2"), "{tail:?}");
        if running {
            child.kill().await.unwrap();
        }
    }
}

#[tokio::test]
async fn others_do_not_see_the_data() {
    fn check(path: &Path) {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
        if path.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| check(&entry.unwrap().path()));
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    // As somebody made it by hand.
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    let (_mesh, tcp) = start(&data).await;
    let mut subscriber = Client::subscriber(tcp, "g", "t").await;
    Client::publisher(tcp).await.publish_ids("t", ids(0..1)).await;
    subscriber.take_and_ack(1).await;
    assert!(data.join("control.sock").exists() && data.join("topics/t/groups.json").exists());
    check(&data);
}

#[tokio::test]
async fn damaged_cursors_are_told_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = support::mesh(&dir, |_| {}).await;
    drop(Client::subscriber(mesh.tcp_addr(), "g", "t").await);
    mesh.shutdown().await;
    let cursors = dir.path().join("topics/t/groups.json");
    fs::write(&cursors, "{\"g\":").unwrap();
    let started = openconnect_mesh::Mesh::start(openconnect_mesh::Config::embedded(dir.path())).await;
    let error = started.err().unwrap().to_string();
    assert!(error.contains("topics/t") && error.contains("groups.json is damaged"), "{error}");
    fs::remove_file(cursors).unwrap();
    support::mesh(&dir, |_| {}).await.shutdown().await;
}
