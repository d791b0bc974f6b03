//! What disk and loopback allow: a bare append with fsync, and a bare copy over TCP.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::{Duration, Instant};

use openconnect_testkit::Result;
use openconnect_testkit::kit::Kit;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// Bytes of an append before each fsync: what the mesh's log commits at once under full load.
const APPEND: usize = 256 << 10;
const TIME: Duration = Duration::from_secs(2);

/// Bytes a second.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) append: f64,
    pub(crate) copy: f64,
}

pub(crate) async fn measure(binaries: &std::path::Path) -> Result<Limits> {
    let kit = Kit::quiet(binaries)?;
    let file = kit.file("append");
    let append = tokio::task::spawn_blocking(move || append(&file)).await??;
    Ok(Limits {
        append,
        copy: copy().await?,
    })
}

fn append(file: &std::path::Path) -> std::io::Result<f64> {
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    let block = vec![b'x'; APPEND];
    let (started, mut bytes) = (Instant::now(), 0_u64);
    while started.elapsed() < TIME {
        file.write_all(&block)?;
        file.sync_data()?;
        bytes += APPEND as u64;
    }
    Ok(bytes as f64 / started.elapsed().as_secs_f64())
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
