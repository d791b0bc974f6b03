//! An HTTP target that keeps what it got, with faults.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cloudevents::{AttributesReader, Event};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::http::{HeaderMap, StatusCode};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use openconnect_protocol::{json, payload};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::Result;
use crate::oracle::{Arrived, hash};

const LARGEST_BODY: usize = 64 << 20;

/// How the receiver behaves.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Takes everything.
    None,
    /// Nobody listens; open connections are cut.
    Refuse,
    /// Reads requests and never answers, and keeps nothing.
    Stall,
    /// Answers with this status and keeps nothing.
    Status(u16),
    /// Takes everything, after a while.
    Slow(Duration),
    /// Takes everything and never answers.
    Deaf,
    /// Answers 400 to a request that has one of these event ids in it, and keeps nothing of it.
    Poison(HashSet<String>),
    /// The same for events that this says something of: their number, from their data.
    PoisonNumbers(fn(u64) -> bool),
}

/// One request that was taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Its headers.
    pub headers: HeaderMap,
    /// How many events were in it.
    pub events: usize,
    /// Its body; empty unless the receiver records.
    pub body: Bytes,
}

/// How much of what it takes a receiver keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// A count.
    Count,
    /// Ids and hashes.
    Arrived,
    /// Whole requests.
    Requests,
}

#[derive(Debug, Default)]
struct Kept {
    arrived: Vec<Arrived>,
    requests: Vec<Taken>,
}

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    count: AtomicUsize,
    keep: Keep,
}

impl Shared {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An HTTP server on a port that stays the same through its faults.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Receiver {
    /// Starts it; it takes everything and keeps it.
    pub async fn start() -> Result<Self> {
        Self::start_with(Keep::Arrived).await
    }

    /// Starts one that only counts events.
    pub async fn start_counting() -> Result<Self> {
        Self::start_with(Keep::Count).await
    }

    /// Starts one that keeps the bodies too.
    pub async fn start_recording() -> Result<Self> {
        Self::start_with(Keep::Requests).await
    }

    async fn start_with(keep: Keep) -> Result<Self> {
        let address = crate::kit::free_address()?;
        let listener = TcpListener::bind(address).await?;
        let shared = Arc::new(Shared {
            kept: Mutex::default(),
            count: AtomicUsize::new(0),
            keep,
        });
        let (fault, seen) = watch::channel(Fault::None);
        let server = tokio::spawn(serve(listener, address, Arc::clone(&shared), seen));
        Ok(Self {
            address,
            fault,
            shared,
            server,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Behaves like this from now on.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// How many events were taken.
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// How many events were taken, for who looks at it later.
    pub fn counter(&self) -> impl Fn() -> u64 + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.count.load(Ordering::Relaxed) as u64
    }

    /// What was taken, in order.
    pub fn arrived(&self) -> Vec<Arrived> {
        self.shared.kept().arrived.clone()
    }

    /// How many different events were taken.
    pub fn different(&self) -> usize {
        let kept = self.shared.kept();
        kept.arrived.iter().map(|arrived| arrived.id.as_str()).collect::<HashSet<_>>().len()
    }

    /// The requests that were taken.
    pub fn requests(&self) -> Vec<Taken> {
        self.shared.kept().requests.clone()
    }

    /// Waits until so many different events are here.
    pub async fn wait_for(&self, different: usize, within: Duration) -> Result<()> {
        let what = format!("{different} different events at the receiver");
        let found = crate::process::until(&what, within, || async { (self.different() >= different).then_some(()) }).await;
        found.map_err(|e| format!("{e}; {} are here", self.different()).into())
    }
}

/// Serves until aborted. While it refuses, the port is closed.
async fn serve(first: TcpListener, address: SocketAddr, shared: Arc<Shared>, mut fault: watch::Receiver<Fault>) {
    let mut listener = Some(first);
    loop {
        let Some(open) = listener.take() else {
            if fault.wait_for(|fault| !matches!(fault, Fault::Refuse)).await.is_err() {
                return;
            }
            listener = TcpListener::bind(address).await.ok();
            tokio::task::yield_now().await;
            continue;
        };
        let mut connections = JoinSet::new();
        let mut refusal = fault.clone();
        loop {
            tokio::select! {
                refused = async { refusal.wait_for(|fault| matches!(fault, Fault::Refuse)).await.is_ok() } => {
                    if !refused {
                        return;
                    }
                    // Connections and listener end here.
                    break;
                }
                Some(_) = connections.join_next() => {}
                accepted = open.accept() => {
                    if let Ok((stream, _)) = accepted {
                        let _ = stream.set_nodelay(true);
                        let (shared, fault) = (Arc::clone(&shared), fault.clone());
                        connections.spawn(async move {
                            let service = service_fn(move |request| answer(request, Arc::clone(&shared), fault.clone()));
                            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                        });
                    }
                }
            }
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    mut fault: watch::Receiver<Fault>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LARGEST_BODY).collect().await else {
        return Ok(status(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let current = fault.borrow_and_update().clone();
    match current {
        Fault::Stall | Fault::Refuse => {
            // For ever, also when the fault is gone: such a request never comes to anything.
            std::future::pending::<()>().await;
        }
        Fault::Status(code) => return Ok(status(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))),
        Fault::Slow(time) => tokio::time::sleep(time).await,
        Fault::None | Fault::Deaf | Fault::Poison(_) | Fault::PoisonNumbers(_) => {}
    }
    let body = body.to_bytes();
    if shared.keep == Keep::Count {
        match count(&head.headers, &body) {
            Some(events) => shared.count.fetch_add(events, Ordering::Relaxed),
            None => return Ok(status(StatusCode::BAD_REQUEST)),
        };
        return Ok(status(StatusCode::NO_CONTENT));
    }
    let Some(events) = read(&head.headers, &body) else {
        return Ok(status(StatusCode::BAD_REQUEST));
    };
    let poison = match &current {
        Fault::Poison(ids) => events.iter().any(|(id, _)| ids.contains(id)),
        Fault::PoisonNumbers(poison) => events.iter().any(|(_, data)| number(data).is_some_and(poison)),
        _ => false,
    };
    if poison {
        return Ok(status(StatusCode::BAD_REQUEST));
    }
    keep(&shared, head.headers, body, events);
    if matches!(current, Fault::Deaf) {
        std::future::pending::<()>().await;
    }
    Ok(status(StatusCode::NO_CONTENT))
}

fn keep(shared: &Shared, headers: HeaderMap, body: Bytes, events: Vec<(String, Vec<u8>)>) {
    let arrived = events.into_iter().map(|(id, data)| Arrived { id, hash: hash(&data) });
    let arrived: Vec<Arrived> = arrived.collect();
    shared.count.fetch_add(arrived.len(), Ordering::Relaxed);
    let mut kept = shared.kept();
    kept.requests.push(Taken {
        headers,
        events: arrived.len(),
        body: if shared.keep == Keep::Requests { body } else { Bytes::new() },
    });
    kept.arrived.extend(arrived);
}

fn number(data: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(data).ok()?["number"].as_u64()
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Counts without decoding: every event has one `specversion`, as a member's name in JSON, as a bare name in protobuf.
fn count(headers: &HeaderMap, body: &[u8]) -> Option<usize> {
    if headers.contains_key("ce-id") {
        return Some(1);
    }
    let name: &[u8] = match header(headers, "content-type") {
        "application/x-protobuf" => b"specversion",
        _ => b"\"specversion\"",
    };
    let events = memmem::find_iter(body, name).count();
    (events > 0).then_some(events)
}

/// Id and data of the events of a request, in any of the three modes of the HTTP binding.
fn read(headers: &HeaderMap, body: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let content_type = header(headers, "content-type");
    if content_type.starts_with("application/cloudevents-batch+json") {
        return Some(json::decode_batch(body).ok()?.iter().map(content).collect());
    }
    if content_type.starts_with("application/cloudevents+json") {
        return Some(vec![content(&json::decode(body).ok()?)]);
    }
    let id = header(headers, "ce-id");
    (!id.is_empty()).then(|| vec![(id.to_owned(), body.to_vec())])
}

fn content(event: &Event) -> (String, Vec<u8>) {
    (event.id().to_owned(), payload::bytes(event).unwrap_or_default().into_owned())
}
