//! What disk and loopback allow: a bare append with fsync, a bare copy over TCP, and requests to a bare HTTP server.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::{Duration, Instant};

use openconnect_testkit::Result;
use openconnect_testkit::kit::Kit;
use openconnect_testkit::receiver::Receiver;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::http;
use crate::load::Load;
use crate::run::Setup;

/// Bytes of an append before each fsync: what the mesh's log commits at once under full load.
const APPEND: usize = 256 << 10;
const TIME: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Bytes a second.
    pub(crate) append: f64,
    /// Of these appends with their fsync, the time that one in a hundred exceeds.
    #[serde(default)]
    pub(crate) append_p99_ms: Option<f64>,
    /// Bytes a second.
    pub(crate) copy: f64,
    /// Requests a second, of one event each, that a server without anything behind it answers to the load of the HTTP source.
    #[serde(default)]
    pub(crate) requests: Option<f64>,
}

pub(crate) async fn measure(binaries: &std::path::Path) -> Result<Limits> {
    let kit = Kit::quiet(binaries)?;
    let file = kit.file("append");
    let (append, p99) = tokio::task::spawn_blocking(move || append(&file)).await??;
    Ok(Limits {
        append,
        append_p99_ms: Some(p99),
        copy: copy().await?,
        requests: Some(requests(binaries).await?),
    })
}

async fn requests(binaries: &std::path::Path) -> Result<f64> {
    let setup = Setup {
        batch: 1,
        ..Setup::new(binaries.to_owned())
    };
    let receiver = Receiver::start_counting().await?;
    let requests = http::requests(&setup, receiver.address(), "/", &http::cloud_events(&setup));
    let _load = Load::start(&requests, Instant::now()).await?;
    let (first, started) = (receiver.count(), Instant::now());
    tokio::time::sleep(TIME).await;
    Ok((receiver.count() - first) as f64 / started.elapsed().as_secs_f64())
}

fn append(file: &std::path::Path) -> std::io::Result<(f64, f64)> {
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    let block = vec![b'x'; APPEND];
    let (started, mut took) = (Instant::now(), Vec::new());
    while started.elapsed() < TIME {
        let begun = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        took.push(begun.elapsed());
    }
    let bytes = (took.len() * APPEND) as f64 / started.elapsed().as_secs_f64();
    took.sort_unstable();
    let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
    Ok((bytes, p99.as_secs_f64() * 1e3))
}

async fn copy() -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let _sending = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await?;
        let block = vec![b'x'; 64 << 10];
        loop {
            stream.write_all(&block).await?;
        }
        #[expect(unreachable_code, reason = "it names the type of the errors")]
        Ok::<(), std::io::Error>(())
    }));
    let (mut stream, _) = listener.accept().await?;
    let mut buffer = vec![0; 64 << 10];
    let (started, mut bytes) = (Instant::now(), 0_u64);
    while started.elapsed() < TIME {
        bytes += stream.read(&mut buffer).await? as u64;
    }
    Ok(bytes as f64 / started.elapsed().as_secs_f64())
}
