//! `cargo xtask demo`: the main job on this machine, with kills in the middle, and a count at the end.
//!
//! `input.rs`: what is sent. `table.rs`: what the SQL sink has written. Here: processes, sending, kills, the table.

mod input;
mod table;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use openconnect_testkit::Result;
use openconnect_testkit::connector::Connector;
use openconnect_testkit::http::Client;
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::oracle::{Verdict, judge};
use openconnect_testkit::receiver::Receiver;
use serde_json::json;
use tokio::task::JoinSet;

use input::{Delivery, Input};

const SECRET: &str = "the-demo's-webhook-secret";
/// So many that kills hit the middle, and so few that programs without optimization are done in seconds.
const DELIVERIES: usize = 1500;
const LONG: Duration = Duration::from_secs(60);

/// Runs the demo until its end or Ctrl-C; no process and no file of it is left either way.
fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    // The programs are built into the folder of this one.
    let program = std::env::current_exe()?;
    let binaries = program.parent().ok_or("the demo's program has no folder")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            clean = demo(binaries) => clean,
            interrupted = interrupted() => interrupted.and(Err("interrupted".into())),
        }
    })
}

/// Ctrl-C, or SIGTERM of whoever started this.
async fn interrupted() -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

struct Line {
    mesh: Mesh,
    source: Connector,
    endpoint: Connector,
    table: Connector,
}

async fn demo(binaries: &Path) -> Result<bool> {
    let kit = Kit::quiet(binaries)?;
    show_files()?;
    let input = Input::load(kit.path(), DELIVERIES)?;
    println!("sending: {} deliveries from {}", input.len(), input.what);
    let receiver = Receiver::start().await?;
    let (mut line, address) = start(&kit, &receiver).await?;
    let started = Instant::now();
    let bar = bar(input.len())?;
    let confirmed = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for deliveries in input.keys {
        senders.spawn(send(address, deliveries, Arc::clone(&confirmed)));
    }
    faults(&mut line, &bar, &confirmed).await?;
    let mut sent = Vec::new();
    while let Some(done) = senders.join_next().await {
        sent.extend(done??.into_iter().map(|delivery| delivery.sent));
    }
    let database = kit.file("github.db");
    let end = Instant::now() + LONG;
    loop {
        bar.set_position(confirmed.load(Ordering::Relaxed) as u64);
        let rows = table::rows(&database).await?;
        if (receiver.different() >= sent.len() && rows >= i64::try_from(sent.len())?) || Instant::now() > end {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bar.finish_and_clear();
    let verdict = judge(&sent, &[], &receiver.arrived());
    let rows = table::rows(&database).await?;
    report(&verdict, rows, started.elapsed());
    println!("\nthe most frequent types in the table:");
    for (name, count) in table::most_frequent(&database, 5).await? {
        println!("  {count:>6}  {name}");
    }
    processes(&mut line)?;
    for connector in [&mut line.source, &mut line.endpoint, &mut line.table] {
        connector.process()?.terminate(Duration::from_secs(25)).await?;
    }
    line.mesh.process.terminate(Duration::from_secs(10)).await?;
    let clean = verdict.is_clean() && rows == i64::try_from(sent.len())?;
    println!(
        "\n{}",
        if clean {
            "Every webhook arrived at both ends."
        } else {
            "FAILED: see the table above."
        }
    );
    Ok(clean)
}

/// The workspace's examples, with which the demo is configured.
fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// What the pipeline is, and the files that make it.
fn show_files() -> Result<()> {
    println!(
        "\nGitHub's webhooks -> HTTP source -> mesh -> HTTP sink -> an endpoint\n\
         {:41}`-> SQL sink  -> an SQLite table\n\
         The sinks and the mesh are killed while {DELIVERIES} webhooks go through.\n",
        ""
    );
    let examples = examples();
    for name in ["github.yaml", "github-table.yaml"] {
        println!("--- examples/{name}");
        print!("{}", std::fs::read_to_string(examples.join(name))?);
    }
    println!("--- and examples/github-endpoint.yaml for the HTTP sink\n");
    Ok(())
}

async fn start(kit: &Kit, receiver: &Receiver) -> Result<(Line, SocketAddr)> {
    let mesh = Mesh::start(kit, json!({})).await?;
    let address = free_address()?;
    let example = |binary: &str, name: &str, set: Vec<String>| {
        let file = examples().join(format!("{name}.yaml"));
        let mut all = vec![format!("mesh.url={}", mesh.url()), "mesh.reconnect_max=200ms".to_owned()];
        all.extend(set);
        let mut connector = Connector::from_file(kit, binary, name, file, &all)?;
        connector.program.environment = vec![("GITHUB_WEBHOOK_SECRET".to_owned(), SECRET.to_owned())];
        Ok::<_, openconnect_testkit::Error>(connector)
    };
    let mut line = Line {
        source: example("openconnect-http-source", "github", vec![format!("source.listen={address}")])?,
        endpoint: example(
            "openconnect-http-sink",
            "github-endpoint",
            vec![format!("sink.url={}", receiver.url())],
        )?,
        table: example(
            "openconnect-jdbc-sink",
            "github-table",
            vec![format!("sink.url=sqlite://{}", kit.file("github.db").display())],
        )?,
        mesh,
    };
    for connector in [&mut line.source, &mut line.endpoint, &mut line.table] {
        connector.run().await?;
    }
    Ok((line, address))
}

fn bar(count: usize) -> Result<ProgressBar> {
    // Draws on a terminal only.
    let bar = ProgressBar::new(count as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} confirmed  {msg}")?);
    Ok(bar)
}

/// Kills and restarts while the load runs.
async fn faults(line: &mut Line, bar: &ProgressBar, confirmed: &AtomicUsize) -> Result<()> {
    for (at, what) in [
        (DELIVERIES / 4, "both sinks killed (SIGKILL)"),
        (DELIVERIES / 2, "the mesh killed and restarted"),
        (DELIVERIES * 3 / 4, "both sinks killed again"),
    ] {
        let end = Instant::now() + LONG;
        while confirmed.load(Ordering::Relaxed) < at {
            if Instant::now() > end {
                return Err(format!("only {} deliveries were confirmed", confirmed.load(Ordering::Relaxed)).into());
            }
            bar.set_position(confirmed.load(Ordering::Relaxed) as u64);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let note = format!("after {at}: {what}");
        bar.set_message(note.clone());
        bar.suspend(|| println!("{note}"));
        if at == DELIVERIES / 2 {
            line.mesh.process.kill().await?;
            line.mesh.restart().await?;
            continue;
        }
        for sink in [&mut line.endpoint, &mut line.table] {
            sink.kill().await?;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        for sink in [&mut line.endpoint, &mut line.table] {
            sink.run().await?;
        }
    }
    Ok(())
}

/// Sends one key's deliveries in order; each again until it is confirmed, as GitHub's redelivery does.
async fn send(address: SocketAddr, deliveries: Vec<Delivery>, confirmed: Arc<AtomicUsize>) -> Result<Vec<Delivery>> {
    let mut client = Client::new(address, Duration::from_secs(10));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    for delivery in &deliveries {
        let signature = format!("sha256={}", hex::encode(ring::hmac::sign(&key, delivery.body.as_bytes())));
        let mut headers = vec![("x-hub-signature-256", signature.as_str())];
        match &delivery.event {
            Some(event) => headers.extend([
                ("content-type", "application/json"),
                ("x-github-event", event.as_str()),
                ("x-github-delivery", delivery.sent.id.as_str()),
            ]),
            None => headers.push(("content-type", "application/cloudevents+json")),
        }
        let end = Instant::now() + LONG;
        loop {
            let answer = client.send("POST".parse()?, "/", &headers, delivery.body.clone().into()).await;
            match answer {
                Ok(answer) if answer.status.is_success() => break,
                Ok(answer) if answer.status.is_client_error() && answer.status.as_u16() != 429 => {
                    return Err(format!("the source refuses {}: {} {}", delivery.sent.id, answer.status, answer.text()).into());
                }
                _ if Instant::now() > end => return Err(format!("{} was never confirmed", delivery.sent.id).into()),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        confirmed.fetch_add(1, Ordering::Relaxed);
    }
    Ok(deliveries)
}

fn report(verdict: &Verdict, rows: i64, took: Duration) {
    println!("\n{:<26}{:>8}", "sent and confirmed", verdict.sent);
    for (name, number) in [
        ("delivered over HTTP", verdict.delivered),
        ("repeated", verdict.repeated),
        ("missing", verdict.missing.len()),
        ("altered", verdict.altered.len()),
        ("out of order per key", verdict.out_of_order.len()),
    ] {
        println!("{name:<26}{number:>8}");
    }
    println!("{:<26}{rows:>8}", "rows in the table");
    println!("in {:.1} s", took.as_secs_f64());
}

fn processes(line: &mut Line) -> Result<()> {
    println!("\n{:<18}{:>10}{:>10}{:>14}", "process", "memory", "peak", "start, ready");
    let mebibytes = |bytes: Option<u64>| bytes.map_or("?".to_owned(), |bytes| format!("{:.1} MiB", bytes as f64 / 1048576.0));
    let show = |name: &str, process: &openconnect_testkit::process::Process, ready: Duration| {
        println!(
            "{name:<18}{:>10}{:>10}{:>11} ms",
            mebibytes(process.memory()),
            mebibytes(process.peak_memory()),
            ready.as_millis()
        );
    };
    show("mesh", &line.mesh.process, line.mesh.ready_after);
    for (name, connector) in [
        ("http source", &mut line.source),
        ("http sink", &mut line.endpoint),
        ("sql sink", &mut line.table),
    ] {
        let ready = connector.ready_after;
        show(name, connector.process()?, ready);
    }
    Ok(())
}
