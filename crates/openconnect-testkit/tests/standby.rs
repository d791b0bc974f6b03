//! Two processes of one source: one is active, the other stands by, and neither a pause nor a kill loses an event or moves an
//! offset back.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use openconnect_sql_fixtures::table;
use openconnect_sql_fixtures::{Database, Server, System};
use openconnect_testkit::connector::{Connector, merge};
use openconnect_testkit::kit::Kit;
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::oracle::{Sent, hash, judge};
use openconnect_testkit::process::until;
use openconnect_testkit::receiver::Receiver;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

const LONG: Duration = Duration::from_secs(120);
/// The default is to take over within 10 s; the rest is for a busy machine.
const TAKE_OVER: Duration = Duration::from_secs(30);
const QUERY: &str = "select position from openconnect_offsets";

/// The offsets, looked at from outside.
enum State {
    Server(Server, Database),
    File(PathBuf),
}

impl State {
    fn url(&self) -> String {
        match self {
            Self::Server(_, database) => database.url.clone(),
            Self::File(file) => format!("sqlite://{}", file.display()),
        }
    }

    async fn offset(&self) -> Option<u64> {
        let rows = match self {
            Self::Server(_, database) => database.query(QUERY).await,
            Self::File(file) => table::query(file, QUERY).await,
        };
        rows.ok()?.first()?.first()?.parse().ok()
    }
}

/// Appends lines, a few every moment; what it wrote.
fn write_lines(file: &Path) -> (Arc<Mutex<Vec<Sent>>>, AbortOnDropHandle<()>) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let mut out = OpenOptions::new().create(true).append(true).open(file).unwrap();
    let written = Arc::clone(&sent);
    let task = tokio::spawn(async move {
        let (mut offset, mut number) = (0, 0);
        loop {
            number += 1;
            for key in 0..4 {
                let data = format!("{{\"n\":{number}}}");
                let line = format!("k{key}\t{data}\n");
                out.write_all(line.as_bytes()).unwrap();
                written.lock().unwrap().push(Sent {
                    id: format!("line-{offset}"),
                    key: format!("k{key}"),
                    number,
                    hash: hash(data.as_bytes()),
                });
                offset += line.len();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    (sent, AbortOnDropHandle::new(task))
}

/// Looks at the offset all the time; what it saw go back.
fn watch(state: Arc<State>) -> (Arc<Mutex<Vec<String>>>, AbortOnDropHandle<()>) {
    let back = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&back);
    let task = tokio::spawn(async move {
        let mut last = 0;
        loop {
            if let Some(offset) = state.offset().await {
                if offset < last {
                    seen.lock().unwrap().push(format!("{last} -> {offset}"));
                }
                last = offset;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    (back, AbortOnDropHandle::new(task))
}

struct Pair {
    replicas: [Connector; 2],
    active: usize,
}

impl Pair {
    async fn start(kit: &Kit, settings: &Value) -> Self {
        let mut replicas = Vec::new();
        for name in ["first", "second"] {
            let mut own = json!({ "name": "lines", "state": { "dir": kit.file(name) } });
            merge(&mut own, settings.clone());
            let mut replica = Connector::start(kit, "examples/lines_source", name, own).await.unwrap();
            let role = if replicas.is_empty() { "active" } else { "standby" };
            replica.wait_status(role, LONG, |status| status["role"] == role).await.unwrap();
            // A standby is ready: it does what it is there for.
            replica.ready().await.unwrap();
            replicas.push(replica);
        }
        Self {
            replicas: replicas.try_into().unwrap(),
            active: 0,
        }
    }

    fn active(&mut self) -> &mut Connector {
        &mut self.replicas[self.active]
    }

    /// Waits until the standby is active; how long that took.
    async fn taken_over(&mut self, how: &str) -> Duration {
        let from = Instant::now();
        self.active = 1 - self.active;
        let status = self
            .active()
            .wait_status("active", TAKE_OVER, |status| status["role"] == "active")
            .await
            .unwrap();
        let took = from.elapsed();
        println!("{how}: taken over after {took:.1?}, fence {}", status["fence"]);
        took
    }

    /// Starts the other one again; it stands by.
    async fn other_again(&mut self) {
        let other = &mut self.replicas[1 - self.active];
        other.run().await.unwrap();
        other
            .wait_status("standby", LONG, |status| status["role"] == "standby")
            .await
            .unwrap();
    }
}

async fn moves(state: &State) {
    let from = state.offset().await;
    until("the offset moves", LONG, || async {
        state.offset().await.filter(|now| Some(*now) > from)
    })
    .await
    .unwrap();
}

async fn a_pair_survives(kit: &Kit, state: State, ttl: &str, pause: Duration) {
    let state = Arc::new(state);
    let mesh = Mesh::start(kit, json!({})).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let to_mesh = json!({ "url": mesh.url(), "topic": "lines", "reconnect_max": "200ms" });
    let sink = json!({ "mesh": to_mesh, "sink": { "url": receiver.url(), "mode": "batch" } });
    let _sink = Connector::start(kit, "openconnect-http-sink", "out", sink).await.unwrap();
    let (sent, writer) = write_lines(&kit.file("lines.txt"));
    let settings = json!({
        "mesh": to_mesh,
        "source": { "file": kit.file("lines.txt") },
        "state": { "offsets": state.url(), "lease_ttl": ttl, "flush_interval": "100ms" },
    });
    let mut pair = Pair::start(kit, &settings).await;
    let (back, watcher) = watch(Arc::clone(&state));
    moves(&state).await;

    // Stopped, woken: it must end, and its successor's offsets stay.
    let stopped = pair.active;
    let wake = tokio::time::Instant::now() + pause;
    pair.active().process().unwrap().signal(Signal::STOP).unwrap();
    pair.taken_over("stopped").await;
    moves(&state).await;
    tokio::time::sleep_until(wake).await;
    let woken = &mut pair.replicas[stopped];
    woken.process().unwrap().signal(Signal::CONT).unwrap();
    let code = woken.process().unwrap().exit(LONG).await.unwrap();
    assert_eq!(code, Some(75), "{}", woken.log());
    assert!(woken.log().contains("OC0213"), "{}", woken.log());
    pair.other_again().await;

    pair.active().kill().await.unwrap();
    pair.taken_over("killed").await;
    moves(&state).await;
    pair.other_again().await;

    if let State::Server(server, _) = &*state {
        server.kill().unwrap();
        let active = pair.active();
        active
            .wait_status("blocked by the database", LONG, |status| {
                status["state"] == "blocked" && status["reason"].as_str().is_some_and(|reason| reason.contains("offsets"))
            })
            .await
            .unwrap();
        server.restart().unwrap();
        moves(&state).await;
        let one = until("one is active", LONG, || async {
            let mut roles = Vec::new();
            for replica in &pair.replicas {
                let status = replica.status().await.ok()?;
                roles.push((status["role"].as_str()?.to_owned(), status["state"].as_str()?.to_owned()));
            }
            let running = |(role, state): &(String, String)| role == "active" && state == "running";
            roles.iter().position(running).filter(|one| roles[1 - one].1 == "standby")
        })
        .await;
        pair.active = one.unwrap();
    }

    assert_eq!(pair.active().process().unwrap().terminate(LONG).await.unwrap(), Some(0));
    pair.taken_over("asked to stop").await;
    moves(&state).await;

    drop(writer);
    let sent = std::mem::take(&mut *sent.lock().unwrap());
    receiver.wait_for(sent.len(), LONG).await.unwrap();
    let verdict = judge(&sent, &[], &receiver.arrived());
    println!("{verdict}");
    assert!(verdict.is_clean(), "{verdict}");
    let end = std::fs::metadata(kit.file("lines.txt")).unwrap().len();
    until("the offset is at the end", LONG, || async {
        (state.offset().await == Some(end)).then_some(())
    })
    .await
    .unwrap();
    drop(watcher);
    assert!(back.lock().unwrap().is_empty(), "offsets went back: {:?}", back.lock().unwrap());
    offsets_commands(&mut pair, end).await;
}

/// `offsets` works on the database, and does not meddle with a running connector.
async fn offsets_commands(pair: &mut Pair, end: u64) {
    let active = pair.active();
    let shown = active.command(&["offsets", "show", "--output", "json"]).await.unwrap();
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    let (partition, position) = shown["offsets"].as_object().unwrap().iter().next().unwrap();
    assert_eq!(position, &json!(end));
    let refused = active.command(&["offsets", "set", partition, "0"]).await.unwrap();
    assert!(refused.code == Some(69) && refused.text().contains("OC0214"), "{}", refused.text());
    assert_eq!(active.process().unwrap().terminate(LONG).await.unwrap(), Some(0));
    let set = active.command(&["offsets", "set", partition, "7"]).await.unwrap();
    assert_eq!(set.code, Some(0), "{}", set.text());
    let reset = active.command(&["offsets", "reset", partition]).await.unwrap();
    assert_eq!(reset.code, Some(0), "{}", reset.text());
    let shown = active.command(&["offsets", "show"]).await.unwrap();
    assert!(shown.text().contains("no offsets"), "{}", shown.text());
}

/// With the default times, and one process stopped for 30 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_sources_is_active_with_postgres() {
    let Some(server) = Server::start(System::Postgres).await.unwrap() else {
        return;
    };
    let database = server.database().await.unwrap();
    let kit = Kit::new("one_of_two_with_postgres").unwrap();
    a_pair_survives(&kit, State::Server(server, database), "6s", Duration::from_secs(30)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_sources_is_active_with_sqlite() {
    let kit = Kit::new("one_of_two_with_sqlite").unwrap();
    a_pair_survives(&kit, State::File(kit.file("state.db")), "2s", Duration::ZERO).await;
}

/// It has no positions, so its binary links no database: also when it is built beside those that do.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_links_no_database_refuses_shared_offsets() {
    let kit = Kit::new("shared_offsets_refused").unwrap();
    let state = kit.file("state.db");
    let settings = json!({
        "mesh": { "url": "tcp://127.0.0.1:1", "topic": "t" },
        "source": { "listen": "127.0.0.1:0" },
        "state": { "offsets": format!("sqlite://{}", state.display()) },
    });
    let mut source = Connector::prepare(&kit, "openconnect-http-source", "in", settings).unwrap();
    source.launch().unwrap();
    let code = source.process().unwrap().exit(LONG).await.unwrap();
    assert_eq!(code, Some(78), "{}", source.log());
    assert!(source.log().contains("OC0215"), "{}", source.log());
    assert!(!state.exists(), "it made a database");
}
