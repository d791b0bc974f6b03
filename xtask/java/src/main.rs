//! `cargo xtask java`: the published Java SDK against `openconnect-mesh`: `ci/java-sdk`, built by Maven, run on two
//! meshes of its own, of which one is killed and restarted when the program asks for it. What comes of it is the matrix
//! in `docs/compatibility.md` (`matrix.rs`).

mod matrix;

use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use openconnect_testkit::Result;
use openconnect_testkit::kit::Kit;
use openconnect_testkit::maven;
use openconnect_testkit::mesh::Mesh;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use self::matrix::Matrix;
use xtask::cargo::workspace;

/// The whole run takes about a minute; a busy machine takes longer, and the SDK's own threads may hang.
const LIMIT: Duration = Duration::from_secs(300);
const PAGE: &str = "docs/compatibility.md";

#[derive(Debug, Parser)]
#[command(name = "cargo xtask java")]
struct Arguments {
    /// Write what was seen into docs/compatibility.md.
    #[arg(long)]
    write: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse().write) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every check passed and the page says so. Without Java it is skipped; with `CI=true` that is a failure.
fn run(write: bool) -> Result<bool> {
    if let Some(tool) = maven::missing_tool() {
        println!("skipped: java sdk: {tool} is not installed");
        return Ok(!std::env::var("CI").is_ok_and(|ci| ci == "true"));
    }
    let classpath = maven::build("java-sdk")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let matrix = runtime.block_on(async {
        tokio::time::timeout(LIMIT, checks(&classpath))
            .await
            .map_err(|_| format!("the SDK's program still ran after {LIMIT:?}"))?
    })?;
    // `cargo xtask test` adds these up.
    println!("test result: {} passed; {} failed", matrix.passed(), matrix.failed());
    Ok(matrix.failed() == 0 && compare(&workspace().join(PAGE), &matrix, write)?)
}

async fn checks(classpath: &str) -> Result<Matrix> {
    let (kit, restarted_kit) = (Kit::new("java sdk")?, Kit::new("java sdk, restarts")?);
    // The checks know these limits. An idle session must outlast two of the SDK's heartbeats of 30 s only by them.
    let settings = json!({
        "users": { "user": "pass" },
        "limits": { "max_event_bytes": "3584KiB", "session_timeout": "35s" },
    });
    // Both end with this function, however it ends.
    let mesh = Mesh::start(&kit, settings.clone()).await?;
    let mut restarted = Mesh::start(&restarted_kit, settings).await?;
    let errors = kit.file("java.err");
    let mut java = tokio::process::Command::new("java")
        .args(["-cp", classpath, "org.openconnect.sdktest.Main"])
        .args(
            [&mesh, &restarted]
                .map(|mesh| [mesh.tcp.port().to_string(), mesh.grpc.port().to_string()])
                .concat(),
        )
        .current_dir(kit.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&errors)?)
        .kill_on_drop(true)
        .spawn()?;
    let mut to_java = java.stdin.take().ok_or("no standard input")?;
    let mut lines = BufReader::new(java.stdout.take().ok_or("no standard output")?).lines();
    let mut matrix = Matrix::default();
    while let Some(line) = lines.next_line().await? {
        if line == "restart" {
            restarted.process.kill().await?;
            restarted.restart().await?;
            to_java.write_all(b"restarted\n").await?;
            continue;
        }
        println!("{line}");
        matrix.add(&line);
    }
    let status = java.wait().await?;
    if matrix.passed() == 0 || (!status.success() && matrix.failed() == 0) {
        return Err(format!("the SDK's program broke ({status}):\n{}", std::fs::read_to_string(&errors)?).into());
    }
    Ok(matrix)
}

/// Whether the page says what was seen; with `write`, it does afterwards.
fn compare(page: &Path, matrix: &Matrix, write: bool) -> Result<bool> {
    let text = std::fs::read_to_string(page)?;
    let fresh = matrix.put_into(&text)?;
    if fresh == text {
        return Ok(true);
    }
    if write {
        std::fs::write(page, fresh)?;
        println!("{PAGE} was rewritten");
        return Ok(true);
    }
    println!("{PAGE} does not say what was seen: `cargo xtask java --write` rewrites it");
    Ok(false)
}
