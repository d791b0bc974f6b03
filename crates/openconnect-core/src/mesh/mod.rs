//! The client of EventMesh: publish and subscribe over TCP or gRPC, with fail-over, heartbeats and a bounded window.
//!
//! | file | what is in it |
//! |---|---|
//! | `url.rs` | `mesh.url` |
//! | `route.rs` | which server is tried next; redirects |
//! | `dialer.rs`, `socket.rs` | how servers are reached: addresses, TLS; a connection |
//! | `session.rs` | one TCP session: HELLO, buffers |
//! | `grpc.rs` | one gRPC session: channel, attributes of every call, heartbeats |
//! | `ended.rs` | why a session ended, and the next attempt |
//! | `refused.rs` | what the client does about a refusal |
//! | `publish.rs` | the task behind a publisher; `publish_tcp.rs`, `publish_grpc.rs`: its sessions |
//! | `receive.rs` | the task behind a subscriber; `subscribe_tcp.rs`, `subscribe_grpc.rs`: its sessions |

use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use cloudevents::{AttributesReader, AttributesWriter, Event};
use openconnect_protocol::{EventError, wire};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::budget::{Budget, Reservation};
use crate::codes;
use crate::config::MeshSettings;
use crate::error::{Error, Result};
use crate::failure::Failure;

mod dialer;
mod ended;
mod grpc;
mod publish;
mod publish_grpc;
mod publish_tcp;
mod receive;
mod refused;
mod route;
mod session;
mod socket;
mod subscribe_grpc;
mod subscribe_tcp;
pub(crate) mod url;

use dialer::Dialer;
use publish::{Lane, Outgoing, Waiter};
pub(crate) use publish::{Refused, Told};
use receive::{Acknowledgement, Acks, Received, Receiving, Wish};
use url::Transport;

/// Events that a lane has at the most, waiting or in flight.
const LANE_QUEUE: usize = 8192;

/// What the server told about itself when the session was set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// An event that was not acknowledged comes again (`openconnect-mesh`); EventMesh 1.x forgets it.
    pub redelivers: bool,
    /// After a refusal the server takes nothing more from that connection, so that a window keeps order.
    pub ordered_refusal: bool,
    /// Does an acknowledgement exist at all? Not over gRPC with EventMesh 1.x.
    pub acknowledges: bool,
    /// Name for people: `openconnect-mesh 0.1.0` or `EventMesh 1.x (tcp)`.
    pub server: String,
}

/// Is there a session with the mesh, and does it take what is sent?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MeshStatus {
    /// No session; `reason` is the last error.
    Disconnected {
        /// What the last attempt met.
        reason: String,
    },
    /// Session up, but the server refuses publishes for now (full, overloaded).
    Refusing {
        /// What the server said.
        reason: String,
    },
    /// Session up.
    Connected,
}

/// Publishes events. Cheap to clone.
#[derive(Clone)]
pub struct Publisher(Arc<PublisherInner>);

struct PublisherInner {
    lanes: Vec<LaneHandle>,
    next: AtomicUsize,
    dialer: Arc<Dialer>,
    status: watch::Receiver<MeshStatus>,
    capabilities: watch::Receiver<Option<Capabilities>>,
    request_timeout: std::time::Duration,
}

struct LaneHandle {
    queue: std::sync::Mutex<Option<mpsc::Sender<Vec<Outgoing>>>>,
    room: Arc<Semaphore>,
    task: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl LaneHandle {
    /// Queues events when there is room for them. Cancel-safe: all of them or none.
    async fn send(&self, events: Vec<Outgoing>) {
        let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
        let Ok(room) = self.room.acquire_many(count).await else { return };
        let queue = self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let Some(queue) = queue
            && queue.send(events).await.is_ok()
        {
            room.forget();
        }
    }
}

/// Resolves when the mesh has the event: `Ok`, or a failure that another try of the same event would meet again
/// (`Permanent`) or that ends the connector (`Fatal`: wrong password). Everything else is retried inside, for as long as
/// the publisher lives.
pub struct Published(oneshot::Receiver<std::result::Result<(), Failure>>);

impl Future for Published {
    type Output = std::result::Result<(), Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|told| told.unwrap_or_else(|_| Err(publish::closed())))
    }
}

impl PublisherInner {
    fn tcp_body(&self, topic: &str, event: &Event) -> Vec<u8> {
        let mut body = Vec::with_capacity(1024);
        let id = event.id();
        // What the other transports demand, so that the event can cross to them.
        let mesh = [
            ("ttl", "4000"),
            ("uniqueid", id),
            ("seqnum", id),
            ("producergroup", self.dialer.group()),
        ];
        wire::encode_into(event, topic, &mesh, &mut body);
        body
    }
}

impl Publisher {
    /// Connects to the first server that answers; waits for as long as none does (the status tells). Fails at once on what
    /// no wait mends: wrong password, bad URL. `ends` stops everything at once.
    pub async fn connect(settings: &MeshSettings, group: &str, ends: CancellationToken) -> Result<Self> {
        let (publisher, session) = Self::open(settings, group, ends)?;
        session.await?;
        Ok(publisher)
    }

    /// As [`Self::connect`], without the wait: events are taken at once, and sent when there is a session. The future ends with the
    /// first session, or fails on what no wait mends.
    pub(crate) fn open(
        settings: &MeshSettings,
        group: &str,
        ends: CancellationToken,
    ) -> Result<(Self, impl Future<Output = Result<()>> + Send + 'static)> {
        let dialer = Arc::new(Dialer::new(settings, group)?);
        let (status, status_seen) = watch::channel(MeshStatus::Disconnected {
            reason: "not connected yet".into(),
        });
        let (capabilities, capabilities_seen) = watch::channel(None);
        let (failed, mut failed_seen) = watch::channel(None);
        let lanes = (0..settings.connections.clamp(1, 64))
            .map(|_| {
                let (queue, queued) = mpsc::channel(LANE_QUEUE);
                let room = Arc::new(Semaphore::new(LANE_QUEUE));
                let lane = Lane {
                    dialer: Arc::clone(&dialer),
                    queue: queued,
                    window: settings.window.map(|window| window.max(1)),
                    status: status.clone(),
                    capabilities: capabilities.clone(),
                    failed: failed.clone(),
                    ends: ends.clone(),
                    room: Arc::clone(&room),
                };
                let task = tokio::spawn(lane.run());
                LaneHandle {
                    queue: std::sync::Mutex::new(Some(queue)),
                    room,
                    task: std::sync::Mutex::new(Some(task)),
                }
            })
            .collect();
        let publisher = Self(Arc::new(PublisherInner {
            lanes,
            next: AtomicUsize::new(0),
            dialer: Arc::clone(&dialer),
            status: status_seen,
            capabilities: capabilities_seen.clone(),
            request_timeout: dialer.request_timeout,
        }));
        Ok((
            publisher,
            async move { wait_for_session(capabilities_seen, &mut failed_seen).await },
        ))
    }

    /// Waits for room in the window, then queues the event for `topic`. Events with the same `key` reach the mesh in the
    /// order of the calls, also across reconnects; events without a key may take any connection.
    pub async fn send(&self, topic: &str, key: Option<&str>, event: &Event) -> Published {
        let (tell, told) = oneshot::channel();
        let outgoing = Outgoing {
            id: event.id().to_owned(),
            body: self.encode(topic, event),
            waiter: Waiter::one(tell),
        };
        self.lane(key).send(vec![outgoing]).await;
        Published(told)
    }

    /// As [`Self::send`], of many events in order, each with its number and its key; no more than a lane has room for. How
    /// each ended is told to `to`. When this is cancelled, some are queued and the others are not.
    pub(crate) async fn send_many(&self, topic: &str, events: Vec<(u64, Arc<Event>, Option<String>)>, to: &mpsc::UnboundedSender<Told>) {
        let mut by_lane: Vec<Vec<Outgoing>> = Vec::new();
        by_lane.resize_with(self.0.lanes.len(), Vec::new);
        for (number, mut event, key) in events {
            let body = self.encode(topic, &event);
            // The event itself ends here: what is sent, and sent again, is its encoded form.
            let id = match Arc::get_mut(&mut event) {
                Some(event) => event.set_id(String::new()),
                None => event.id().to_owned(),
            };
            by_lane[self.lane_number(key.as_deref())].push(Outgoing {
                id,
                body,
                waiter: Waiter::of_many(number, to.clone()),
            });
        }
        for (lane, events) in self.0.lanes.iter().zip(by_lane) {
            if !events.is_empty() {
                lane.send(events).await;
            }
        }
    }

    fn lane(&self, key: Option<&str>) -> &LaneHandle {
        &self.0.lanes[self.lane_number(key)]
    }

    fn lane_number(&self, key: Option<&str>) -> usize {
        let any = match key {
            Some(key) => {
                let mut hasher = DefaultHasher::new();
                key.hash(&mut hasher);
                usize::try_from(hasher.finish() >> 1).unwrap_or_default()
            }
            None => self.0.next.fetch_add(1, Ordering::Relaxed),
        };
        any % self.0.lanes.len()
    }

    fn encode(&self, topic: &str, event: &Event) -> Vec<u8> {
        match self.0.dialer.transport() {
            Transport::Tcp => self.0.tcp_body(topic, event),
            Transport::Grpc => self.0.dialer.grpc_body(topic, event),
        }
    }

    /// The event that was encoded for the mesh.
    pub(crate) fn decode(&self, body: &[u8]) -> std::result::Result<Event, EventError> {
        match self.0.dialer.transport() {
            Transport::Tcp => wire::decode(body),
            Transport::Grpc => grpc::decode(body),
        }
    }

    /// Session state; changes are seen at once.
    pub fn status(&self) -> watch::Receiver<MeshStatus> {
        self.0.status.clone()
    }

    /// What the server told at the last set-up.
    pub fn capabilities(&self) -> Capabilities {
        self.0.capabilities.borrow().clone().unwrap_or_else(|| assumed(false))
    }

    /// Waits until what is in flight is confirmed, up to `mesh.request_timeout`, says goodbye and closes. What is then still
    /// in flight resolves as a retryable failure.
    pub async fn close(self) {
        for lane in &self.0.lanes {
            drop(lane.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
        }
        let deadline = tokio::time::Instant::now() + self.0.request_timeout;
        for lane in &self.0.lanes {
            let task = lane.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            if let Some(mut task) = task
                && tokio::time::timeout_at(deadline, &mut task).await.is_err()
            {
                task.abort();
            }
        }
    }
}

/// Waits for the first session, or for a failure that nothing mends.
async fn wait_for_session(
    mut capabilities: watch::Receiver<Option<Capabilities>>,
    failed: &mut watch::Receiver<Option<Failure>>,
) -> Result<()> {
    let gone = || Error::unavailable(codes::MESH_CLOSED, "the mesh client was stopped before it had a session");
    tokio::select! {
        biased;
        failure = failed.wait_for(Option::is_some) => {
            let failure = failure.map_err(|_| gone())?.clone().ok_or_else(gone)?;
            Err(Error::unavailable(codes::SESSION_REFUSED, "no session with the mesh").because(failure).hint("Mend the mesh: section of the configuration, or the server's users and rights."))
        }
        found = capabilities.wait_for(Option::is_some) => found.map(|_| ()).map_err(|_| gone()),
    }
}

/// One event from the mesh, not yet acknowledged.
pub struct Delivery {
    /// The event as structured JSON in the mesh's wire form; decode with `openconnect_protocol::wire::decode`.
    pub raw: Bytes,
    /// Why it can't be read, when the server sent a failure instead of an event; `raw` then has what came.
    pub unreadable: Option<String>,
    /// Acknowledges it.
    pub ack: Ack,
    /// Its part of the memory.
    pub(crate) reservation: Option<Reservation>,
}

/// Acknowledges one delivery; dropping it leaves the event unacknowledged.
pub struct Ack(Acknowledgement);

impl Ack {
    /// Queues the acknowledgement. An acknowledgement whose session has ended is dropped: the mesh delivers again.
    pub fn ack(self) {
        self.0.ack();
    }
}

/// Receives events.
pub struct Subscriber {
    received: mpsc::Receiver<Received>,
    buffer: Vec<Received>,
    wish: watch::Sender<Wish>,
    status: watch::Receiver<MeshStatus>,
    capabilities: watch::Receiver<Option<Capabilities>>,
    failed: watch::Receiver<Option<Failure>>,
    task: JoinHandle<()>,
    request_timeout: std::time::Duration,
}

impl Subscriber {
    /// Connects, subscribes to `mesh.topic` in `group` (clustering) and starts listening. Waits and fails as
    /// [`Publisher::connect`]. What is received takes of `budget` for as long as its [`Delivery`] is there: when it is spent, the
    /// socket is not read.
    pub async fn connect(settings: &MeshSettings, group: &str, budget: Budget, ends: CancellationToken) -> Result<Self> {
        let dialer = Arc::new(Dialer::new(settings, group)?);
        let (to, received) = mpsc::channel(4096);
        let (wish, wished) = watch::channel(Wish::Receive);
        let (status, status_seen) = watch::channel(MeshStatus::Disconnected {
            reason: "not connected yet".into(),
        });
        let (capabilities, capabilities_seen) = watch::channel(None);
        let (failed, mut failed_seen) = watch::channel(None);
        let request_timeout = dialer.request_timeout;
        let receiving = Receiving {
            dialer,
            topic: settings.topic.clone(),
            to,
            budget,
            wish: wished,
            status,
            capabilities,
            failed,
            ends,
            acks: Arc::new(Acks::default()),
            count: 0,
        };
        let task = tokio::spawn(receiving.run());
        wait_for_session(capabilities_seen.clone(), &mut failed_seen).await?;
        Ok(Self {
            received,
            buffer: Vec::new(),
            wish,
            status: status_seen,
            capabilities: capabilities_seen,
            failed: failed_seen,
            task,
            request_timeout,
        })
    }

    /// Waits for deliveries and moves up to `max` into `into`; returns how many. Reconnects inside. `Err` only when
    /// nothing mends it (`Fatal`). Cancel-safe.
    pub async fn recv(&mut self, into: &mut Vec<Delivery>, max: usize) -> std::result::Result<usize, Failure> {
        let count = self.received.recv_many(&mut self.buffer, max).await;
        if count == 0 {
            let failure = self.failed.borrow().clone();
            return Err(failure.unwrap_or_else(|| Failure::fatal(codes::MESH_CLOSED, "the mesh client was closed")));
        }
        into.extend(self.buffer.drain(..).map(|r| Delivery {
            raw: r.raw,
            unreadable: r.unreadable,
            ack: Ack(r.ack),
            reservation: r.reservation,
        }));
        Ok(count)
    }

    /// Session state.
    pub fn status(&self) -> watch::Receiver<MeshStatus> {
        self.status.clone()
    }

    /// What the server told at the last set-up.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities.borrow().clone().unwrap_or_else(|| assumed(false))
    }

    /// Stops receiving: unsubscribes; acknowledgements still go out until `close`.
    pub async fn stop(&mut self) {
        self.wish.send_replace(Wish::Stop);
        self.received.close();
        while self.received.recv().await.is_some() {}
    }

    /// Flushes queued acknowledgements, says goodbye, closes. Bounded by `mesh.request_timeout`.
    pub async fn close(mut self) {
        self.wish.send_replace(Wish::Close);
        self.received.close();
        if tokio::time::timeout(self.request_timeout, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

fn assumed(grpc: bool) -> Capabilities {
    Capabilities {
        redelivers: false,
        ordered_refusal: false,
        acknowledges: !grpc,
        server: format!("EventMesh 1.x ({})", if grpc { "grpc" } else { "tcp" }),
    }
}

impl Subscriber {
    /// What holds of a server that has not been asked: EventMesh 1.x over this transport.
    pub fn assumed_capabilities(settings: &MeshSettings) -> Capabilities {
        assumed(settings.url.starts_with("grpc"))
    }
}
