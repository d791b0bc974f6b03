//! What a user could take instead, on the same pipeline: HTTP in, HTTP out. Each is fetched and built when it is measured.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use openconnect_testkit::Result;
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::process::{Program, until};
use openconnect_testkit::receiver::Receiver;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::http::{self, Encoded};
use crate::load::Load;
use crate::otlp;
use crate::run::{Sample, Setup, sample};
use crate::usage::Watched;
use xtask::cargo::workspace;

/// A program of another project, made of the Go modules in the folder of its name in `ci/peers`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Peer {
    /// The engine of Redpanda Connect. It keeps nothing on a disk: what it has answered for is lost when it is killed, so it
    /// answers when the endpoint has.
    Benthos,
    /// The OpenTelemetry Collector with a queue on the disk that is synced: it answers when it has kept the events, as the
    /// mesh does. Events are log records in its own protocol, the attributes with them.
    Otelcol,
}

impl Peer {
    pub(crate) const ALL: [Self; 2] = [Self::Benthos, Self::Otelcol];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Benthos => "benthos",
            Self::Otelcol => "otelcol",
        }
    }

    pub(crate) fn build(self) -> Result<()> {
        let name = self.name();
        println!("building {name} (the first time takes minutes)");
        let mut go = Command::new("go");
        go.args(["build", "-o"]).arg(self.binary()).arg(".");
        go.current_dir(workspace().join("ci/peers").join(name));
        let status = go.status().map_err(|e| format!("go, which builds the peer, can't be run: {e}"))?;
        if !status.success() {
            return Err(format!("{name} could not be built").into());
        }
        Ok(())
    }

    fn binary(self) -> PathBuf {
        workspace().join("target/peers").join(self.name())
    }

    fn arguments(self, configuration: &Path) -> [String; 2] {
        let file = configuration.display();
        match self {
            Self::Benthos => ["run".to_owned(), file.to_string()],
            Self::Otelcol => ["--config".to_owned(), format!("file:{file}")],
        }
    }

    fn configuration(self, setup: &Setup, listen: SocketAddr, url: &str, storage: &Path) -> Value {
        match self {
            Self::Benthos => benthos(setup, listen, url),
            Self::Otelcol => otelcol(listen, url, storage),
        }
    }

    /// The path that it takes events at, and the form that they have there.
    fn encoded(self, setup: &Setup) -> (&'static str, Encoded) {
        match self {
            Self::Benthos => ("/", http::cloud_events(setup)),
            Self::Otelcol => ("/v1/logs", otlp::log_records(setup)),
        }
    }

    /// The peer between the same load and the same endpoint.
    pub(crate) async fn run(self, setup: &Setup) -> Result<Sample> {
        let (kit, name) = (Kit::quiet(&setup.binaries)?, self.name());
        let receiver = Receiver::start_counting().await?;
        let address = free_address()?;
        let file = kit.file("peer.yaml");
        let configuration = self.configuration(setup, address, &receiver.url(), &kit.file("storage"));
        std::fs::write(&file, configuration.to_string())?;
        let program = Program::new(self.binary(), self.arguments(&file), kit.file("peer.log"));
        let started = Instant::now();
        let process = program.start()?;
        until(&format!("{name} listens"), Duration::from_secs(30), || async {
            TcpStream::connect(address).await.is_ok().then_some(())
        })
        .await?;
        let mut watched = [Watched::idle(name, &process, started.elapsed())];
        let (path, encoded) = self.encoded(setup);
        let requests = http::requests_to(setup, address, path, &encoded, &receiver);
        let load = Load::start(&requests, Instant::now() + setup.warm_up).await?;
        let sample = sample(setup, &mut watched, async || Ok(receiver.count() as u64)).await?;
        load.confirmed().map(|_| sample)
    }
}

/// The answer is given when the endpoint has answered; as many requests at once as ours has.
fn benthos(setup: &Setup, listen: SocketAddr, url: &str) -> Value {
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

/// A full queue makes the load wait, as ours does. Without compression, as ours.
fn otelcol(listen: SocketAddr, url: &str, storage: &Path) -> Value {
    json!({
        "extensions": { "file_storage": { "directory": storage, "create_directory": true, "fsync": true } },
        "receivers": { "otlp": { "protocols": { "http": { "endpoint": listen } } } },
        "exporters": { "otlp_http": {
            "logs_endpoint": url, "compression": "none",
            "sending_queue": {
                "storage": "file_storage", "num_consumers": 16, "queue_size": 10_000, "block_on_overflow": true,
            },
        } },
        "service": {
            "extensions": ["file_storage"],
            "pipelines": { "logs": { "receivers": ["otlp"], "exporters": ["otlp_http"] } },
            "telemetry": { "logs": { "level": "error" }, "metrics": { "level": "none" } },
        },
    })
}
