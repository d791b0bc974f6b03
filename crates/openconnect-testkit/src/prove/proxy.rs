//! A TCP proxy that cuts, swallows and delays.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::Result;

const SLOW: Duration = Duration::from_millis(2);
const PIECE: usize = 256;

/// What it does with what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Hands it on.
    Pass,
    /// Loses it; connections stand. They are cut when this is over: what was lost is lost.
    HalfOpen,
    /// Hands it on late: [`SLOW`] for every [`PIECE`].
    Slow,
}

/// A proxy in front of one address. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    cuts: watch::Sender<u64>,
    server: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Proxy {
    /// A proxy of `target`, which need not listen yet.
    pub(crate) async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (mode, seen) = watch::channel(Mode::Pass);
        let (cuts, cut) = watch::channel(0);
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((client, _)) = accepted {
                        let (seen, mut cut) = (seen.clone(), cut.clone());
                        cut.mark_unchanged();
                        connections.spawn(async move {
                            tokio::select! {
                                () = carry(client, target, seen) => {}
                                _ = cut.changed() => {}
                            }
                        });
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self {
            address,
            mode,
            cuts,
            server,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves like this from now on.
    pub(crate) fn set(&self, mode: Mode) {
        if self.mode.send_replace(mode) == Mode::HalfOpen && mode != Mode::HalfOpen {
            self.cut();
        }
    }

    /// Closes every connection.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn carry(mut client: TcpStream, target: SocketAddr, mode: watch::Receiver<Mode>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        () = copy(from_client, to_server, mode.clone()) => {}
        () = copy(from_server, to_client, mode) => {}
    }
}

async fn copy(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 16 << 10];
    // A stream has no holes: once something is lost, nothing passes any more until the connection is cut.
    let mut lost = false;
    loop {
        let Ok(read) = from.read(&mut buffer).await else { return };
        let now = *mode.borrow();
        lost |= now == Mode::HalfOpen;
        match (read, now) {
            (0, _) => return,
            _ if lost => continue,
            (_, Mode::Slow) => tokio::time::sleep(SLOW * u32::try_from(read.div_ceil(PIECE)).unwrap_or(1)).await,
            (_, Mode::Pass | Mode::HalfOpen) => {}
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
