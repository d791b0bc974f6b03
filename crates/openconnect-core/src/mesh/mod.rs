//! The client of EventMesh: publish and subscribe over TCP or gRPC, with fail-over, heartbeats and a bounded window.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use cloudevents::Event;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::config::MeshSettings;
use crate::error::Result;
use crate::failure::Failure;

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
pub struct Publisher {}

/// Resolves when the mesh has the event: `Ok`, or a failure that another try of the same event would meet again
/// (`Permanent`) or that ends the connector (`Fatal`: wrong password). Everything else is retried inside, for as long as
/// the publisher lives.
pub struct Published(oneshot::Receiver<std::result::Result<(), Failure>>);

impl Future for Published {
    type Output = std::result::Result<(), Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|r| {
            r.unwrap_or_else(|_| Err(Failure::retryable("OC0301", "the mesh client was closed")))
        })
    }
}

impl Publisher {
    /// Connects to the first server that answers. Fails at once on what no retry mends (wrong password, bad URL); waits
    /// up to `mesh.request_timeout` per server otherwise and then fails.
    pub async fn connect(
        settings: &MeshSettings,
        group: &str,
        shutdown: CancellationToken,
    ) -> Result<Self> {
        let _ = (settings, group, shutdown);
        Err(crate::error::Error::unavailable("OC0301", "not built yet"))
    }

    /// Waits for room in the window, then queues the event for `topic`. Events with the same `key` reach the mesh in the
    /// order of the calls, also across reconnects; events without a key may take any connection.
    pub async fn send(&self, topic: &str, key: Option<&str>, event: &Event) -> Published {
        let _ = (topic, key, event);
        Published(oneshot::channel().1)
    }

    /// Session state; changes are seen at once.
    pub fn status(&self) -> watch::Receiver<MeshStatus> {
        watch::channel(MeshStatus::Connected).1
    }

    /// What the server told at the last set-up.
    pub fn capabilities(&self) -> Capabilities {
        Capabilities {
            redelivers: false,
            ordered_refusal: false,
            acknowledges: true,
            server: String::new(),
        }
    }

    /// Says goodbye and closes. Publishes still in flight resolve as retryable failures.
    pub async fn close(self) {}
}

/// One event from the mesh, not yet acknowledged.
pub struct Delivery {
    /// The event as structured JSON in the mesh's wire form; decode with `openconnect_protocol::wire::decode`.
    pub raw: Bytes,
    /// Why it can't be read, when the server sent a failure instead of an event; `raw` then has what came.
    pub unreadable: Option<String>,
    /// Acknowledges it.
    pub ack: Ack,
}

/// Acknowledges one delivery; dropping it leaves the event unacknowledged.
pub struct Ack {}

impl Ack {
    /// Queues the acknowledgement. An acknowledgement whose session has ended is dropped: the mesh delivers again.
    pub fn ack(self) {}
}

/// Receives events.
pub struct Subscriber {}

impl Subscriber {
    /// Connects, subscribes to `mesh.topic` in `group` (clustering) and starts listening. Fails as [`Publisher::connect`].
    /// `buffer_bytes` bounds what is received and not yet taken by `recv`: beyond it the socket is not read.
    pub async fn connect(
        settings: &MeshSettings,
        group: &str,
        buffer_bytes: usize,
        shutdown: CancellationToken,
    ) -> Result<Self> {
        let _ = (settings, group, buffer_bytes, shutdown);
        Err(crate::error::Error::unavailable("OC0301", "not built yet"))
    }

    /// Waits for deliveries and moves up to `max` into `into`; returns how many. Reconnects inside. `Err` only when
    /// nothing mends it (`Fatal`). Cancel-safe.
    pub async fn recv(
        &mut self,
        into: &mut Vec<Delivery>,
        max: usize,
    ) -> std::result::Result<usize, Failure> {
        let _ = (into, max);
        std::future::pending().await
    }

    /// Session state.
    pub fn status(&self) -> watch::Receiver<MeshStatus> {
        watch::channel(MeshStatus::Connected).1
    }

    /// What the server told at the last set-up.
    pub fn capabilities(&self) -> Capabilities {
        Capabilities {
            redelivers: false,
            ordered_refusal: false,
            acknowledges: true,
            server: String::new(),
        }
    }

    /// Stops receiving: unsubscribes; acknowledgements still go out until `close`.
    pub async fn stop(&mut self) {}

    /// Flushes queued acknowledgements, says goodbye, closes. Bounded by `mesh.request_timeout`.
    pub async fn close(self) {}
}

impl Subscriber {
    /// What holds of a server that has not been asked: EventMesh 1.x over this transport.
    pub fn assumed_capabilities(settings: &MeshSettings) -> Capabilities {
        let grpc = settings.url.starts_with("grpc");
        Capabilities {
            redelivers: false,
            ordered_refusal: false,
            acknowledges: !grpc,
            server: format!("EventMesh 1.x ({})", if grpc { "grpc" } else { "tcp" }),
        }
    }
}
