//! How a connector takes part: how records get into its system, or how to read back what arrived.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use openconnect_fault::Failpoint;
use serde_json::Value;

use super::fault::{Part, Trouble};
use crate::Result;
use crate::kit::Kit;
use crate::oracle::{Arrived, Sent};
use crate::services::Service;

/// Something that takes time.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// A source's system, with records being produced into it.
pub trait Input: Send + Sync {
    /// The source's binary.
    fn binary(&self) -> &'static str;
    /// Its section of the configuration.
    fn section(&self) -> Value;
    /// Begins to produce keyed records, and goes on until [`Input::stop`].
    fn start(&mut self) -> Later<'_, ()>;
    /// How many records the source must not lose by now.
    fn confirmed(&self) -> usize;
    /// Ends producing, with the source running; says what must arrive and what may.
    fn stop(&mut self) -> Later<'_, Produced>;
    /// The ids of the records before the saved offsets (`offsets show`); empty for a source without positions.
    fn before(&self, offsets: &Value) -> Vec<String> {
        let _ = offsets;
        Vec::new()
    }
}

/// What was produced.
#[derive(Debug, Default)]
pub struct Produced {
    /// What the source must not lose.
    pub confirmed: Vec<Sent>,
    /// What it may lose: nobody was told that it is safe.
    pub open: Vec<Sent>,
    /// What the source must make dead letters in its own state, and not publish.
    pub refused: Vec<Sent>,
}

/// A sink's system.
pub trait Output: Send + Sync {
    /// The sink's binary.
    fn binary(&self) -> &'static str;
    /// Where the system listens; none when it is no server.
    fn address(&self) -> Option<SocketAddr>;
    /// The sink's section of the configuration; `via` is the proxy in front of the system.
    fn section(&self, via: Option<SocketAddr>) -> Value;
    /// What is in the system, in the order in which it came.
    fn arrived(&self) -> Later<'_, Vec<Arrived>>;
    /// Makes this trouble from now on, or none; called for one trouble at a time. It may wait for a lock that a stopped process
    /// holds: the processes go on, and are woken, while it waits. A wait must have an end.
    fn trouble(&self, trouble: Option<Trouble>) -> Later<'_, ()>;
}

/// Makes a source's system.
pub type MakeInput = fn(&Kit) -> Later<'_, Box<dyn Input>>;
/// Makes a sink's system.
pub type MakeOutput = fn(&Kit) -> Later<'_, Arc<dyn Output>>;

/// One connector (or the mesh) in a pipeline, ready to be proved.
pub struct Subject {
    /// Its name for `cargo xtask prove`.
    pub name: &'static str,
    /// The source of the pipeline.
    pub input: MakeInput,
    /// The sink of the pipeline.
    pub output: MakeOutput,
    /// What its random plans hit.
    pub aims: &'static [Part],
    /// The failpoints that they use.
    pub failpoints: &'static [Failpoint],
    /// What the target can do.
    pub troubles: &'static [Trouble],
    /// Does the sink reach its target over the network?
    pub network_target: bool,
    /// Do the connectors speak gRPC to the mesh?
    pub grpc: bool,
    /// Settings of the source, over the kit's.
    pub source_settings: fn() -> Value,
    /// Settings of the sink, over the kit's.
    pub sink_settings: fn() -> Value,
    /// The service that its system is. Without it on this machine the subject is skipped.
    pub service: Option<Service>,
    /// How long after the last fault everything must have arrived. A system that takes its time to give work to another member,
    /// or to elect a leader, says so here.
    pub recovery: Duration,
}

impl Subject {
    /// The part whose inbox is meant: the source's spool where plans hit the source and not the sink.
    pub fn with_inbox(&self) -> Part {
        match self.aims.contains(&Part::Source) && !self.aims.contains(&Part::Sink) {
            true => Part::Source,
            false => Part::Sink,
        }
    }

    /// When nothing new has arrived for this long, what is missing counts as lost: no wait of the pipeline is nearly as long.
    pub fn stalled(&self) -> Duration {
        self.recovery * 2 / 5
    }
}
