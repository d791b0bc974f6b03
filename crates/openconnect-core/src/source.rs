//! What a source connector's author implements.

use std::collections::BTreeMap;
use std::future::Future;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{ConnectorConfig, Limits};
use crate::error::Result;
use crate::failure::Failure;
use crate::record::{Partition, Position, Record};

/// Can the mesh take events now? A source that can refuse (HTTP) answers from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    /// Events are being accepted.
    Open,
    /// The mesh can't be reached, or refuses; what is polled waits.
    Blocked,
    /// Shutting down: nothing new is taken.
    Closed,
}

/// What the core gives to a source when it opens.
pub struct SourceContext<P> {
    /// The instance's name (`name:` of the configuration).
    pub name: String,
    /// Saved offsets: the last position up to which everything was resolved, per partition.
    pub offsets: BTreeMap<Partition, P>,
    /// Whether the mesh takes events now.
    pub intake: watch::Receiver<Intake>,
    /// `limits.max_event_bytes`: larger events are dead-lettered by the core; a source that can refuse earlier should.
    pub max_event_bytes: usize,
    /// Cancelled when the connector shuts down. `poll` need not look at it: it is dropped.
    pub shutdown: CancellationToken,
}

impl<P> SourceContext<P> {
    /// For a source that runs without the engine, in a test or a measurement: the mesh takes everything, nothing shuts it down,
    /// and `limits` are the default ones. The engine makes its own.
    pub fn alone(name: &str, offsets: BTreeMap<Partition, P>) -> Self {
        let (_, intake) = watch::channel(Intake::Open);
        Self {
            name: name.to_owned(),
            offsets,
            intake,
            max_event_bytes: usize::try_from(Limits::default().max_event_bytes.0).unwrap_or(usize::MAX),
            shutdown: CancellationToken::new(),
        }
    }
}

/// Gets records from a system. The core owns the loop: publishing, offsets, back-pressure, shutdown.
pub trait Source: Send + Sized + 'static {
    /// The connector's name, e.g. `http-source`.
    const NAME: &'static str;
    /// May the same event be polled again after a crash? `false` for sources that cannot replay and have no caller
    /// that retries (the guarantee then is at-most-once).
    const REPLAYABLE: bool = true;
    /// The `source:` section of the configuration.
    type Config: ConnectorConfig;
    /// Where to resume in one partition.
    type Position: Position;

    /// Prepares. Called once, before the first `poll`. A system that is down at start is no error here: `poll` says so,
    /// and connects when it is back.
    fn open(config: Self::Config, cx: SourceContext<Self::Position>) -> impl Future<Output = Result<Self>> + Send;

    /// Can the system be reached, and read? For `check --connect`: nothing is opened, and another process may run meanwhile.
    /// Ends by itself.
    fn check(config: Self::Config) -> impl Future<Output = Result<()>> + Send {
        let _ = config;
        async { Ok(()) }
    }

    /// Waits for the next records. Cancel-safe: what it did not return is returned by the next call. One attempt, no retry
    /// inside: after a retryable failure the core waits (`delivery.retry`) and polls again, and the status tells meanwhile;
    /// any other failure stops the connector, with the offsets of all that was confirmed stored.
    fn poll(&mut self) -> impl Future<Output = Result<Vec<Record<Self::Position>>, Failure>> + Send;

    /// Everything up to `position` in `partition` is resolved and the offset is durable. Upstream acknowledgements and
    /// deletes happen here only. After a retryable failure it is called again, with this or a later position; any other
    /// failure stops the connector.
    fn commit(&mut self, partition: &Partition, position: &Self::Position) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = (partition, position);
        async { Ok(()) }
    }

    /// Releases what `open` took. All outcomes are known by now.
    fn close(self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}
