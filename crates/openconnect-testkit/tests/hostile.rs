//! Hostile events through HTTP source, mesh, HTTP sink and JDBC sink, beside kills: each arrives with every byte of its data and all of
//! its attributes, or is refused at the door with a reason, or is a dead letter that names its place; and no process ends.
//!
//! `OPENCONNECT_SEED` repeats a run, `OPENCONNECT_HOSTILE` says how many events it has.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use openconnect_sql_fixtures::table;
use openconnect_testkit::connector::{Connector, merge};
use openconnect_testkit::hostile::{Content, Hostile, NUMBER, short, tokens, unpercent};
use openconnect_testkit::http::Client;
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::receiver::{Receiver, Taken};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use url::Url;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(20);
/// Nothing new for so long: what is missing does not come.
const STALLED: Duration = Duration::from_secs(15);
const MODES: [&str; 3] = ["structured", "batch", "binary"];

/// How SQLite stores what it has no type for: booleans, negative zero.
const SQLITE: [(&str, &str); 4] = [("true", "1"), ("false", "0"), ("-0", "0"), ("-0.0", "0.0")];

/// An event as a target has it.
#[derive(Debug)]
struct Seen {
    attributes: BTreeMap<String, String>,
    data: Content,
}

fn settings(mesh: &Mesh, over: Value) -> Value {
    let mut settings = json!({
        "mesh": { "url": mesh.url(), "topic": "hostile", "reconnect_max": "100ms" },
        "delivery": {
            "retry": { "initial": "20ms", "max": "200ms" },
            "circuit": { "dead_letters": 1_000_000, "window": 1_000_000 },
        },
    });
    merge(&mut settings, over);
    settings
}

/// Sends an event until somebody answers: the source may just be killed.
async fn send(address: SocketAddr, event: &Hostile) -> (u16, String) {
    let headers: Vec<(&str, &str)> = event.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let end = Instant::now() + ANSWER;
    loop {
        let answer = Client::new(address, ANSWER)
            .send("POST".parse().unwrap(), "/", &headers, event.body.clone().into())
            .await;
        match answer {
            Ok(answer) if answer.status == 503 && Instant::now() < end => {}
            Ok(answer) => return (answer.status.as_u16(), answer.text()),
            Err(error) if Instant::now() > end => return (0, error.to_string()),
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What the request says to somebody who knows nothing of the product's own decoders.
fn seen(mode: &str, taken: &Taken) -> Vec<Seen> {
    match mode {
        "binary" => vec![of_headers(taken)],
        "batch" => {
            let events: Vec<Box<RawValue>> = serde_json::from_slice(&taken.body).unwrap();
            events.iter().map(|event| of_json(event.get())).collect()
        }
        _ => vec![of_json(std::str::from_utf8(&taken.body).unwrap())],
    }
}

fn of_headers(taken: &Taken) -> Seen {
    let mut attributes = BTreeMap::new();
    for (name, value) in &taken.headers {
        match name.as_str() {
            "content-type" => attributes.insert("datacontenttype".to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()),
            name => name
                .strip_prefix("ce-")
                .and_then(|name| attributes.insert(name.to_owned(), unpercent(value.as_bytes()))),
        };
    }
    Seen {
        attributes,
        data: Content::Bytes(taken.body.to_vec()),
    }
}

fn of_json(text: &str) -> Seen {
    let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).unwrap();
    let data = match (members.remove("data"), members.remove("data_base64")) {
        (None, None) => Content::Absent,
        (None, Some(base64)) => Content::Bytes(STANDARD.decode(serde_json::from_str::<String>(base64.get()).unwrap()).unwrap()),
        (Some(data), _) => Content::Json(data.get().to_owned()),
    };
    let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned());
    Seen {
        attributes: members.iter().map(|(name, raw)| (name.clone(), text(raw))).collect(),
        data,
    }
}

/// How what arrived differs from what was sent.
fn differences(event: &Hostile, seen: &Seen) -> Vec<String> {
    let mut found = Vec::new();
    let no_data = matches!(event.data, Content::Absent);
    for (name, value) in &event.attributes {
        let name = name.to_ascii_lowercase();
        let Some(arrived) = seen.attributes.get(&name) else {
            // A content type says nothing without data.
            if !(no_data && name == "datacontenttype") {
                found.push(format!("{name} {} is missing", short(value)));
            }
            continue;
        };
        let same = match name.as_str() {
            "time" => same_time(arrived, value),
            "dataschema" => same_uri(arrived, value),
            _ => arrived == value,
        };
        if !same {
            found.push(format!("{name} is {} instead of {}", short(arrived), short(value)));
        }
    }
    let sent: BTreeSet<String> = event.attributes.keys().map(|name| name.to_ascii_lowercase()).collect();
    for name in seen.attributes.keys().filter(|name| !sent.contains(*name)) {
        // What is JSON without a content type may be called so.
        if name != "datacontenttype" || seen.attributes[name] != "application/json" {
            found.push(format!("{name} {} was not sent", short(&seen.attributes[name])));
        }
    }
    if !same_data(&event.data, &seen.data) {
        found.push(format!("the data is {} instead of {}", seen.data.short(), event.data.short()));
    }
    found
}

fn same_time(a: &str, b: &str) -> bool {
    let parsed = |text: &str| DateTime::parse_from_rfc3339(text).ok();
    parsed(a).is_some() && parsed(a) == parsed(b)
}

/// The product keeps a URI as a URL, in its normal form: the host in small letters, no `..` in the path.
fn same_uri(a: &str, b: &str) -> bool {
    let parsed = |text: &str| Url::parse(text).ok();
    parsed(a).is_some() && parsed(a) == parsed(b) && !b.contains(|c: char| !c.is_ascii_graphic())
}

fn same_data(sent: &Content, seen: &Content) -> bool {
    let bytes: &[u8] = match sent {
        Content::Absent => &[],
        Content::Json(text) | Content::Text(text) => text.as_bytes(),
        Content::Bytes(bytes) => bytes,
    };
    match (sent, seen) {
        (Content::Absent, Content::Json(text)) => text == "null",
        (Content::Json(sent), Content::Absent) => tokens(sent) == "null",
        (Content::Json(sent), Content::Json(seen)) => tokens(sent) == tokens(seen),
        // In the JSON format, data that is `null` is no data.
        (Content::Json(sent), Content::Bytes(seen)) if tokens(sent) == "null" && seen.is_empty() => true,
        (Content::Json(sent), Content::Bytes(seen)) => std::str::from_utf8(seen).is_ok_and(|seen| tokens(sent) == tokens(seen)),
        (_, Content::Bytes(seen)) => seen == bytes,
        (_, Content::Absent) => bytes.is_empty(),
        (_, Content::Json(seen)) => serde_json::from_str::<String>(seen).is_ok_and(|text| text.as_bytes() == bytes),
        (_, Content::Text(seen)) => seen.as_bytes() == bytes,
    }
}

/// The dead letters of a connector by the number of their event. What has no number is found under 0.
fn dead_letters(connector: &Connector) -> HashMap<u64, String> {
    let text = std::fs::read(connector.state.join("dead-letters.jsonl")).unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(line).unwrap_or_default();
            let text = |name: &str| {
                members
                    .get(name)
                    .map(|raw| raw.get().trim_matches('"').to_owned())
                    .unwrap_or_default()
            };
            let place = format!("{} {}: {}", text("dlqconnector"), text("dlqcode"), text("dlqreason"));
            (text(NUMBER).parse().unwrap_or(0), place)
        })
        .collect()
}

/// What went wrong, in words; each kind of change once.
#[derive(Default)]
struct Findings(BTreeMap<String, String>);

impl Findings {
    fn add(&mut self, place: &str, event: &Hostile, what: impl std::fmt::Display) {
        let what = what.to_string();
        let kind = format!("{place}: {what}");
        self.0
            .entry(kind)
            .or_insert_with(|| format!("{place}: event {} ({}): {what}", event.number, event.changes.join("; ")));
    }
}

struct Pipeline {
    mesh: Mesh,
    source: Connector,
    address: SocketAddr,
    sinks: Vec<(&'static str, Receiver, Connector)>,
    table: (PathBuf, Connector),
}

impl Pipeline {
    async fn start(kit: &Kit) -> Self {
        let mesh = Mesh::start(kit, json!({})).await.unwrap();
        let mut sinks = Vec::new();
        for mode in MODES {
            let receiver = Receiver::start_recording().await.unwrap();
            let sink = json!({ "sink": { "url": receiver.url(), "mode": mode } });
            let sink = Connector::start(kit, "openconnect-http-sink", mode, settings(&mesh, sink))
                .await
                .unwrap();
            sinks.push((mode, receiver, sink));
        }
        let file = kit.file("hostile.db");
        table::execute(
            &file,
            "create table events (n text primary key, id text, source text, type text, subject text, body text)",
        )
        .await
        .unwrap();
        let columns = json!({ "n": NUMBER, "id": "id", "source": "source", "type": "type", "subject": "subject", "body": "data" });
        let sink =
            json!({ "sink": { "url": format!("sqlite://{}", file.display()), "table": "events", "key": ["n"], "columns": columns } });
        let sink = Connector::start(kit, "openconnect-jdbc-sink", "table", settings(&mesh, sink))
            .await
            .unwrap();
        let address = free_address().unwrap();
        let source = json!({ "source": { "listen": address, "max_body_bytes": "8MiB" } });
        let source = Connector::start(kit, "openconnect-http-source", "in", settings(&mesh, source))
            .await
            .unwrap();
        Self {
            mesh,
            source,
            address,
            sinks,
            table: (file, sink),
        }
    }

    /// Kills one of the processes, chosen by the number, and starts it again.
    async fn kill(&mut self, which: u64) {
        match which {
            0 => {
                self.mesh.process.kill().await.unwrap();
                self.mesh.restart().await.unwrap();
            }
            1 => self.source.kill_and_run().await.unwrap(),
            2 => self.table.1.kill_and_run().await.unwrap(),
            _ => self.sinks[0].2.kill_and_run().await.unwrap(),
        }
    }

    /// The numbers of the events that each sink has delivered or given up.
    async fn resolved(&self) -> usize {
        let mut resolved = self.rows().await.len() + dead_letters(&self.table.1).len();
        for (mode, receiver, sink) in &self.sinks {
            resolved += numbers(mode, receiver).len() + dead_letters(sink).len();
        }
        resolved
    }

    async fn rows(&self) -> HashMap<u64, Vec<String>> {
        let sql = "select n, id, source, type, coalesce(subject, ''), hex(cast(body as blob)) from events";
        let rows = table::query(&self.table.0, sql).await.unwrap();
        rows.into_iter().map(|row| (row[0].parse().unwrap_or(0), row)).collect()
    }
}

fn numbers(mode: &str, receiver: &Receiver) -> HashMap<u64, Seen> {
    let requests = receiver.requests();
    let events = requests.iter().flat_map(|taken| seen(mode, taken));
    events
        .map(|seen| {
            (
                seen.attributes.get(NUMBER).and_then(|number| number.parse().ok()).unwrap_or(0),
                seen,
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_events_arrive_or_are_refused_with_a_reason() {
    let mut kit = Kit::new("hostile").unwrap();
    let count = std::env::var("OPENCONNECT_HOSTILE")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(300);
    let mut pipeline = Pipeline::start(&kit).await;
    let mut findings = Findings::default();
    let mut taken = Vec::new();
    let mut refused = BTreeMap::<u16, usize>::new();
    for number in 1..=count {
        let event = Hostile::random(&mut kit.rng, number);
        if number % 50 == 0 {
            let which = kit.pick(0..4);
            pipeline.kill(which).await;
        }
        let (status, answer) = send(pipeline.address, &event).await;
        match status {
            200..300 => taken.push(event),
            // The head is too large: the server answers before it knows a request.
            431 => *refused.entry(status).or_default() += 1,
            400..500 => {
                *refused.entry(status).or_default() += 1;
                let problem: Value = serde_json::from_str(&answer).unwrap_or_default();
                if problem["detail"].as_str().is_none_or(str::is_empty) {
                    findings.add("HTTP source", &event, format!("{status} without a reason: {answer}"));
                }
                if event.changes.is_empty() {
                    findings.add("HTTP source", &event, format!("a plain event is refused: {status} {answer}"));
                }
            }
            _ => findings.add("HTTP source", &event, format!("answered with {status}: {answer}")),
        }
    }
    let lost_at_source = dead_letters(&pipeline.source);
    let wanted = (taken.len() - lost_at_source.len()) * (pipeline.sinks.len() + 1);
    let (mut most, mut since) = (0, Instant::now());
    while most < wanted && since.elapsed() < STALLED {
        let resolved = pipeline.resolved().await;
        if resolved > most {
            (most, since) = (resolved, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for event in &taken {
        if let Some(place) = lost_at_source.get(&event.number) {
            findings.add("HTTP source", event, format!("taken, then a dead letter: {place}"));
        }
    }
    taken.retain(|event| !lost_at_source.contains_key(&event.number));
    for (mode, receiver, sink) in &pipeline.sinks {
        let place = format!("HTTP sink, {mode}");
        compare(
            &place,
            &taken,
            &numbers(mode, receiver),
            &dead_letters(sink),
            differences,
            &mut findings,
        );
    }
    let dead = dead_letters(&pipeline.table.1);
    compare(
        "JDBC sink",
        &taken,
        &pipeline.rows().await,
        &dead,
        |event, row| row_differences(event, row),
        &mut findings,
    );
    let given_up: usize = pipeline.sinks.iter().map(|(_, _, sink)| dead_letters(sink).len()).sum::<usize>() + dead.len();
    println!(
        "{count} events: {} taken, refused {refused:?}, {given_up} dead letters",
        taken.len()
    );
    let mut connectors: Vec<&mut Connector> = pipeline.sinks.iter_mut().map(|(_, _, sink)| sink).collect();
    connectors.extend([&mut pipeline.source, &mut pipeline.table.1]);
    for connector in connectors {
        assert_eq!(connector.process().unwrap().ended().unwrap(), None, "{}", connector.log());
    }
    let found: Vec<&String> = findings.0.values().collect();
    assert!(found.is_empty(), "{} kinds of findings: {found:#?}", found.len());
}

/// Each event arrived as it was, or is a dead letter with a code and a reason.
fn compare<T>(
    place: &str,
    taken: &[Hostile],
    arrived: &HashMap<u64, T>,
    dead: &HashMap<u64, String>,
    differences: fn(&Hostile, &T) -> Vec<String>,
    findings: &mut Findings,
) {
    for event in taken {
        match (arrived.get(&event.number), dead.get(&event.number)) {
            (Some(seen), _) => {
                for difference in differences(event, seen) {
                    findings.add(place, event, difference);
                }
            }
            (None, Some(_)) if event.changes.is_empty() => findings.add(place, event, "a plain event is a dead letter"),
            (None, Some(named)) if named.ends_with(": ") || named.starts_with(' ') => {
                findings.add(place, event, "a dead letter that does not name its place");
            }
            (None, Some(_)) => {}
            (None, None) => findings.add(place, event, "neither delivered nor a dead letter"),
        }
    }
}

fn row_differences(event: &Hostile, row: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for (column, name) in ["id", "source", "type", "subject"].into_iter().enumerate() {
        let sent = event.attributes.get(name).map_or("", String::as_str);
        if row[column + 1] != sent {
            found.push(format!("{name} is {} instead of {}", short(&row[column + 1]), short(sent)));
        }
    }
    let body: Vec<u8> = row[5]
        .as_bytes()
        .chunks(2)
        .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
        .collect();
    let as_in_a_column = match &event.data {
        // A text in a column is the characters, not JSON of them.
        Content::Json(text) => serde_json::from_str::<String>(text).map_or_else(|_| event.data.clone(), Content::Text),
        data => data.clone(),
    };
    let stored = |json: &str| SQLITE.iter().any(|(sent, stored)| *sent == json && stored.as_bytes() == body);
    let stored = matches!(&event.data, Content::Json(text) if stored(tokens(text).as_str()));
    let body = Content::Bytes(body);
    if !stored && !same_data(&as_in_a_column, &body) {
        found.push(format!("the data is {} instead of {}", body.short(), event.data.short()));
    }
    found
}
