//! `cargo xtask bench`: how fast, how big and how hungry, on this machine.
//!
//! The rules: events are counted at the target, never by a program's own metric; a warm-up is dropped; the control (`A/A`)
//! runs the same twice and says how noisy the machine is; what is compared runs in turn, and is given as a ratio with an
//! interval. The load runs on the same cores.
//!
//! `suite.rs`: what is measured of each subject. `run.rs`: one run. `mesh.rs`, `http.rs`, `jdbc.rs`, `sql.rs`, `cdc.rs`, `peers.rs`: the
//! pipelines; `load.rs`: HTTP load; `otlp.rs`: events for a peer that takes log records. `limits.rs`: what disk and loopback
//! allow. `usage.rs`: memory and processor time. `stats.rs`: medians and intervals. `report.rs`: results as JSON; `page.rs` and
//! `plot.rs`: `docs/benchmarks.md` from them. `gate.rs`: this tree against another commit. `flame.rs`: where the time goes;
//! `recording.rs`: what it is drawn from.

mod cdc;
mod flame;
mod gate;
mod http;
mod jdbc;
mod limits;
mod load;
mod mesh;
mod otlp;
mod page;
mod peers;
mod plot;
mod recording;
mod report;
mod run;
mod sql;
mod stats;
mod suite;
mod usage;

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use openconnect_testkit::Result;

use self::peers::Peer;
use self::report::{Machine, Report};
use self::run::Setup;
use self::suite::{Effort, SUBJECTS, Subject};
use xtask::{binaries, cargo};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The mesh: TCP publish, durable log, subscribe.
    Mesh(Rounds),
    /// The HTTP source, into the mesh.
    HttpSource(Rounds),
    /// The HTTP sink, out of a full mesh.
    HttpSink(Rounds),
    /// The HTTP sink, out of its inbox.
    HttpSinkInbox(Rounds),
    /// The SQL sink, out of a full mesh into SQLite.
    JdbcSink(Rounds),
    /// The SQL connectors and PostgreSQL, beside what its driver alone does.
    Sql(Rounds),
    /// The MySQL CDC source beside Debezium; needs Java and Maven.
    Cdc(Rounds),
    /// HTTP source, mesh, HTTP sink.
    Pipeline(Rounds),
    /// The same pipeline on what a user could take instead; needs Go.
    Peers(Rounds),
    /// The binaries' sizes, each built alone.
    Size,
    /// Single functions, and their allocations.
    Micro,
    /// This tree against other binaries, by ratio; fails when it is slower than the noise explains.
    Gate {
        #[command(flatten)]
        against: gate::Against,
        #[command(flatten)]
        rounds: Rounds,
    },
    /// Where the time goes: a flame graph of a subject; needs perf.
    Flame {
        /// Which: mesh, http-source, http-sink, http-sink-inbox, jdbc-sink, pipeline.
        subject: String,
        #[command(flatten)]
        rounds: Rounds,
    },
    /// Writes docs/benchmarks.md from the results in docs/benchmarks.
    Page,
}

#[derive(Debug, Clone, Copy, Args)]
struct Rounds {
    /// Runs of each side of a comparison.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Runs of each point of a series.
    #[arg(long, default_value_t = 1)]
    each: usize,
    /// Events a request or a write, where nothing else is measured [default: 100].
    #[arg(long)]
    batch: Option<usize>,
    /// Bytes of an event's data, where nothing else is measured [default: 512].
    #[arg(long)]
    bytes: Option<usize>,
}

impl Rounds {
    fn setup(&self, base: &Setup) -> Setup {
        Setup {
            batch: self.batch.map_or(base.batch, |batch| batch.max(1)),
            bytes: self.bytes.unwrap_or(base.bytes),
            ..base.clone()
        }
    }

    fn command(&self, subject: &str) -> String {
        let Self {
            rounds,
            each,
            batch,
            bytes,
        } = self;
        let mut command = format!("cargo xtask bench {subject} --rounds {rounds} --each {each}");
        for (name, value) in [("batch", batch), ("bytes", bytes)] {
            if let Some(value) = value {
                command.push_str(&format!(" --{name} {value}"));
            }
        }
        command
    }
}

fn main() -> ExitCode {
    match dispatch(&Arguments::parse().what) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(what: &What) -> Result<ExitCode> {
    match what {
        What::Page => return page::write().map(|()| ExitCode::SUCCESS),
        What::Micro => return micro(),
        What::Size => return size(),
        _ => {}
    }
    let binaries = match what {
        What::Flame { .. } => flame::build()?,
        What::Cdc(_) => binaries::build_example("openconnect-mysql-cdc-source", "null_consumer")?,
        _ => binaries::build()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            done = measure(what, &binaries) => done,
            interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into).and(Err("interrupted".into())),
        }
    })
}

async fn measure(what: &What, binaries: &Path) -> Result<ExitCode> {
    let base = Setup::new(binaries.to_owned());
    let (name, rounds) = match what {
        What::Mesh(rounds) => ("mesh", rounds),
        What::HttpSource(rounds) => ("http-source", rounds),
        What::HttpSink(rounds) => ("http-sink", rounds),
        What::HttpSinkInbox(rounds) => ("http-sink-inbox", rounds),
        What::JdbcSink(rounds) => ("jdbc-sink", rounds),
        What::Sql(rounds) => ("sql", rounds),
        What::Cdc(rounds) => ("cdc", rounds),
        What::Pipeline(rounds) => ("pipeline", rounds),
        What::Peers(rounds) => ("peers", rounds),
        What::Flame { subject, rounds } => return flame::draw(&base, subject, rounds).await,
        What::Gate { against, rounds } => return gate::run(&base, against, rounds.rounds).await,
        What::Micro | What::Size | What::Page => return Ok(ExitCode::SUCCESS),
    };
    let base = rounds.setup(&base);
    let series = match SUBJECTS.iter().find(|subject| subject.name == name) {
        Some(subject) => measure_subject(subject, &base, *rounds).await?,
        None if name == "cdc" => suite::cdc(&base, rounds.rounds).await?,
        None if name == "sql" => suite::sql(&base, rounds.rounds).await?,
        None => {
            Peer::ALL.into_iter().try_for_each(Peer::build)?;
            suite::peers(&base, rounds.rounds).await?
        }
    };
    let report = Report {
        subject: name.to_owned(),
        command: rounds.command(name),
        machine: Machine::this()?,
        limits: Some(limits::measure(binaries).await?),
        binaries: Vec::new(),
        series,
    };
    println!("written: {}", report.save()?.display());
    page::write()?;
    Ok(ExitCode::SUCCESS)
}

async fn measure_subject(subject: &Subject, base: &Setup, rounds: Rounds) -> Result<Vec<report::Series>> {
    println!(
        "{}: {}\n{} bytes of data, {:?} counted after {:?}",
        subject.name, subject.about, base.bytes, base.counted, base.warm_up
    );
    let effort = Effort {
        rounds: rounds.rounds,
        each: rounds.each,
    };
    subject.measure(base, effort).await
}

fn size() -> Result<ExitCode> {
    let report = Report {
        subject: "size".to_owned(),
        command: "cargo xtask bench size".to_owned(),
        machine: Machine::this()?,
        limits: None,
        binaries: binaries::sizes()?,
        series: Vec::new(),
    };
    println!("written: {}", report.save()?.display());
    page::write()?;
    Ok(ExitCode::SUCCESS)
}

/// The crates' own benchmarks.
fn micro() -> Result<ExitCode> {
    let mut cargo = xtask::cargo::command();
    cargo.args([
        "bench",
        "--bench",
        "micro",
        "-p",
        "eventmesh-openconnect-protocol",
        "-p",
        "eventmesh-openconnect-journal",
        "-p",
        "eventmesh-openconnect-core",
    ]);
    let done = cargo.current_dir(cargo::workspace()).status()?;
    Ok(if done.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
