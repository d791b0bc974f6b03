//! `cargo xtask bench pipeline`: how fast, how big and how hungry the main job is on this machine.
//!
//! Counts are taken at the target, after a warm-up, over a fixed time; the load runs in this process, on the same cores.
//! `tcp.rs`: publish, mesh, subscribe. `http.rs`: HTTP source, mesh, HTTP sink. Here: what is measured of each process.

mod http;
mod tcp;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use openconnect_testkit::Result;
use openconnect_testkit::kit::Kit;
use openconnect_testkit::process::Process;

use crate::release;

/// What can be measured.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Subject {
    /// The first pipeline: TCP publish to subscribe, HTTP in batches, HTTP one event a request.
    Pipeline,
}

/// Before counting begins.
const WARM_UP: Duration = Duration::from_secs(3);
/// How long is counted.
const COUNTED: Duration = Duration::from_secs(10);
/// Bytes of an event's data.
const DATA: usize = 512;

pub(crate) fn run(subject: Subject) -> ExitCode {
    let Subject::Pipeline = subject;
    let done = release::build().and_then(|binaries| {
        if cfg!(debug_assertions) {
            // The load must not be what is slow.
            let status = std::process::Command::new(binaries.join("xtask"))
                .args(["bench", "pipeline"])
                .status()?;
            return if status.success() { Ok(()) } else { Err("not measured".into()) };
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            tokio::select! {
                done = pipeline(&binaries) => done,
                interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into).and(Err("interrupted".into())),
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn pipeline(binaries: &Path) -> Result<()> {
    let cores = std::thread::available_parallelism()?;
    println!("{cores} cores, {DATA} bytes of data an event, fsync on, {COUNTED:?} counted after {WARM_UP:?}");
    tcp::run(&Kit::quiet(binaries)?).await?;
    http::run(&Kit::quiet(binaries)?, 100).await?;
    http::run(&Kit::quiet(binaries)?, 1).await?;
    println!("\nbinaries");
    for name in [
        "openconnect-http-sink",
        "openconnect-http-source",
        "openconnect-jdbc-sink",
        "openconnect-mesh",
    ] {
        let size = std::fs::metadata(binaries.join(name))?.len();
        let target = if name == "openconnect-http-sink" { "  (target 8.0)" } else { "" };
        println!("  {name:<26}{:>6.1} MB{target}", size as f64 / 1e6);
    }
    Ok(())
}

/// Events a second at the target, from a counter that only grows.
async fn rate(mut count: impl FnMut() -> usize) -> f64 {
    tokio::time::sleep(WARM_UP).await;
    let (first, started) = (count(), Instant::now());
    tokio::time::sleep(COUNTED).await;
    (count() - first) as f64 / started.elapsed().as_secs_f64()
}

fn show_rate(what: &str, rate: f64, target: f64) {
    println!("\n{what}: {rate:.0} events/s  (target {target:.0}, {:.2} of it)", rate / target);
}

fn data() -> String {
    format!(r#"{{"text":"{}"}}"#, "x".repeat(DATA - 11))
}

/// Memory, processor time and start of one process.
fn show_process(name: &str, process: &Process, ready: Option<Duration>, idle: Option<u64>) {
    let mib = |bytes: Option<u64>| bytes.map_or("?".to_owned(), |bytes| format!("{:.1} MiB", bytes as f64 / 1048576.0));
    let ready = ready.map_or(String::new(), |ready| format!(", ready after {} ms (target 50)", ready.as_millis()));
    let cpu = cpu_seconds(process.id()).map_or("?".to_owned(), |seconds| format!("{seconds:.1} s"));
    println!(
        "  {name:<12} idle {}, peak {}, processor {cpu}{ready}",
        mib(idle),
        mib(process.peak_memory())
    );
}

/// User and system time so far; the kernel counts hundredths of a second.
fn cpu_seconds(id: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(PathBuf::from("/proc").join(id.to_string()).join("stat")).ok()?;
    // The name in parentheses may have blanks in it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}
