//! Connections of both transports: accepted up to the limits, handshakes beside each other, so that a slow one delays
//! nobody.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Limits;
use crate::lock::locked;

/// A flood of bad connections is logged once in this time.
const COMPLAIN: Duration = Duration::from_secs(1);

/// One transport's connections: how many there are, and how many there may be.
pub(crate) struct Doors {
    max: usize,
    max_per_address: Option<usize>,
    handshake: Duration,
    open: Mutex<Open>,
    refused: AtomicU64,
    complained: Mutex<Complained>,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

#[derive(Default)]
struct Complained {
    last: Option<Instant>,
    held_back: u64,
}

/// A connection's place, free again when dropped.
pub(crate) struct Place {
    doors: Arc<Doors>,
    address: IpAddr,
}

impl Doors {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            max: limits.max_connections,
            max_per_address: limits.max_connections_per_address,
            handshake: limits.handshake_timeout,
            open: Mutex::default(),
            refused: AtomicU64::new(0),
            complained: Mutex::default(),
        })
    }

    /// A place for a client, unless the most are taken.
    fn admit(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let address = neighbourhood(client);
        let most = match self.max_per_address {
            Some(most) => most,
            None if address.is_loopback() => self.max,
            None => (self.max / 4).max(1),
        };
        let mut open = locked(&self.open);
        let here = open.by_address.get(&address).copied().unwrap_or(0);
        if open.total >= self.max || here >= most {
            drop(open);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        open.total += 1;
        open.by_address.insert(address, here + 1);
        Some(Place {
            doors: Arc::clone(self),
            address,
        })
    }

    /// Open connections.
    pub(crate) fn open(&self) -> usize {
        locked(&self.open).total
    }

    /// Connections that found no place since the start.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Logs what is wrong with a client; a flood of it is only counted.
    pub(crate) fn complain(&self, peer: SocketAddr, reason: &str) {
        let mut complained = locked(&self.complained);
        if complained.last.is_some_and(|last| last.elapsed() < COMPLAIN) {
            complained.held_back += 1;
            return;
        }
        complained.last = Some(Instant::now());
        let others = std::mem::take(&mut complained.held_back);
        drop(complained);
        tracing::warn!(%peer, reason, others, "connection closed");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = locked(&self.doors.open);
        open.total -= 1;
        if let Some(here) = open.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// What counts as one client: an IPv6 client has a whole /64.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        other => other,
    }
}

/// A client's connection, encrypted or not.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) peer: SocketAddr,
    /// Kept as long as the connection.
    pub(crate) place: Place,
}

/// Accepts until `stop`, and gives each connection one of `tasks` that runs `serve`.
pub(crate) async fn accept<F, S>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    doors: Arc<Doors>,
    stop: CancellationToken,
    tasks: TaskTracker,
    serve: F,
) where
    F: Fn(Connection) -> S + Clone + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let limit = doors.handshake;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, for instance: it would only fail again at once.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = doors.admit(peer.ip()) else {
            doors.complain(peer, "the most connections that are allowed are open");
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "no TCP_NODELAY");
        }
        let (tls, doors, serve) = (tls.clone(), Arc::clone(&doors), serve.clone());
        tasks.spawn(async move {
            let stream = match tls {
                None => Stream::Plain(stream),
                Some(tls) => match tokio::time::timeout(limit, tls.accept(stream)).await {
                    Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
                    Ok(Err(error)) => return doors.complain(peer, &format!("no TLS handshake: {error}")),
                    Err(_) => return doors.complain(peer, "the TLS handshake took too long"),
                },
            };
            serve(Connection { stream, peer, place }).await;
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn doors(change: impl FnOnce(&mut Limits)) -> Arc<Doors> {
        let mut limits = Limits {
            max_connections: 8,
            ..Limits::default()
        };
        change(&mut limits);
        Doors::new(&limits)
    }

    #[test]
    fn no_client_takes_all_places() {
        let doors = doors(|_| {});
        let (far, near) = ("192.0.2.1".parse().unwrap(), "127.0.0.1".parse().unwrap());
        let mut places: Vec<_> = (0..3).map_while(|_| doors.admit(far)).collect();
        assert_eq!(places.len(), 2);
        assert!(doors.admit("::ffff:192.0.2.1".parse().unwrap()).is_none(), "the same client");
        places.extend((0..8).map_while(|_| doors.admit(near)));
        assert_eq!((places.len(), doors.open()), (8, 8));
        assert!(doors.admit("192.0.2.2".parse().unwrap()).is_none(), "full");
        assert_eq!(doors.refused(), 4);
        places.clear();
        assert_eq!(doors.open(), 0);
        assert!(locked(&doors.open).by_address.is_empty());
    }

    #[test]
    fn a_network_of_addresses_is_one_client() {
        let doors = doors(|l| l.max_connections_per_address = Some(1));
        let place = doors.admit("2001:db8::1".parse().unwrap());
        assert!(place.is_some());
        assert!(doors.admit("2001:db8::2".parse().unwrap()).is_none());
        assert!(doors.admit("2001:db8:0:1::1".parse().unwrap()).is_some());
    }
}
