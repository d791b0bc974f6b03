//! What a user could take instead, on the same pipeline: HTTP in, HTTP out. Each is fetched and built when it is measured.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use openconnect_testkit::Result;
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::process::{Program, until};
use openconnect_testkit::receiver::Receiver;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::http::requests_to;
use super::load::Load;
use super::run::{Sample, Setup, sample};
use super::usage::Watched;
use crate::binaries::workspace;

/// Benthos, the engine of Redpanda Connect, from the Go modules that `xtask/peers/benthos` names.
pub(crate) fn build_benthos() -> Result<()> {
    println!("building benthos (the first time takes minutes)");
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(binary()).arg(".");
    go.current_dir(workspace().join("xtask/peers/benthos"));
    let status = go.status().map_err(|e| format!("go, which builds the peer, can't be run: {e}"))?;
    if !status.success() {
        return Err("benthos could not be built".into());
    }
    Ok(())
}

fn binary() -> PathBuf {
    workspace().join("target/peers/benthos")
}

/// Its configuration: the answer is given when the endpoint has answered, as many requests at once as ours has.
pub(crate) fn configuration(setup: &Setup, listen: std::net::SocketAddr, url: &str) -> Value {
    let (processors, content_type) = if setup.batch > 1 {
        // Each event is looked at, as ours does.
        let each = json!([{ "unarchive": { "format": "json_array" } }, { "archive": { "format": "json_array" } }]);
        (each, "application/cloudevents-batch+json")
    } else {
        (json!([]), "application/json")
    };
    json!({
        "http": { "enabled": false },
        "logger": { "level": "ERROR" },
        "input": { "http_server": { "address": listen, "path": "/", "timeout": "60s" } },
        "pipeline": { "processors": processors },
        "output": { "http_client": {
            "url": url, "verb": "POST", "max_in_flight": 16,
            "headers": { "Content-Type": content_type },
            "metadata": { "include_prefixes": ["Ce-"] },
        } },
    })
}

/// Benthos between the same load and the same endpoint. It keeps nothing on a disk.
pub(crate) async fn run_benthos(setup: &Setup) -> Result<Sample> {
    let kit = Kit::quiet(&setup.binaries)?;
    let receiver = Receiver::start_counting().await?;
    let address = free_address()?;
    let file = kit.file("benthos.yaml");
    std::fs::write(&file, configuration(setup, address, &receiver.url()).to_string())?;
    let program = Program::new(
        binary(),
        ["run".to_owned(), file.to_string_lossy().into_owned()],
        kit.file("benthos.log"),
    );
    let started = Instant::now();
    let process = program.start()?;
    until("benthos listens", std::time::Duration::from_secs(30), || async {
        TcpStream::connect(address).await.is_ok().then_some(())
    })
    .await?;
    let mut watched = [Watched::idle("benthos", &process, started.elapsed())];
    let requests = requests_to(setup, address, &receiver);
    let load = Load::start(&requests, Instant::now() + setup.warm_up).await?;
    let sample = sample(setup, &mut watched, async || Ok(receiver.count() as u64)).await?;
    load.confirmed().map(|_| sample)
}
