//! What the core must know about a source before it runs: it depends on the configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What becomes of an event that was read and not confirmed when the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replay {
    /// The source reads it again from its position: a log, a table, a queue with acknowledgements.
    FromPosition,
    /// Whoever sent it has no answer, and sends it again: a webhook, or the [`Input`](super::Input) that it answers.
    ByCaller,
    /// It is lost: a stream without positions. The guarantee is then at-most-once.
    Never,
}

/// Who keeps the positions of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetKeeper {
    /// The core: in the state folder, or in the database of `state.offsets`. One process is active, by lease.
    Core,
    /// The system that is read, as a message queue does for its consumer groups: positions go to the
    /// [`Committer`](super::Committer) alone. Nothing is stored in the state folder, and there is no lease; the system shares the work
    /// among the processes. `offsets show|set|reset` act on the system through
    /// [`UpstreamOffsets`](super::UpstreamOffsets).
    Upstream,
    /// Nobody: there are none.
    Nobody,
}

/// When an event counts as delivered for whoever sent it: its receipt is resolved then, and its position may be committed.
///
/// A source whose callers can't wait for the mesh has it as a setting, `accept`, and hands it on with
/// [`SourceProfile::with_accept`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Accept {
    /// When the mesh has confirmed it.
    #[default]
    Mesh,
    /// When it is in the spool: an inbox on the disk of this process, fsynced. The events are published from there, in order, also
    /// after a long outage of the mesh. With the state folder those are lost that the mesh does not have yet.
    Spool,
}

/// Does a source take a topic of the mesh as its input?
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputUse {
    /// No: a configuration with `input` is refused.
    #[default]
    Never,
    /// Where the configuration has one.
    Optional,
    /// Always: a configuration without `input` is refused.
    Required,
}

/// Events of the input that a source works on at the same time, where it says nothing else.
const INPUT_IN_FLIGHT: usize = 16;

/// The profile of a source under one configuration.
///
/// ```
/// use openconnect_core::source::{OffsetKeeper, Replay, SourceProfile};
///
/// let table = SourceProfile::new(Replay::FromPosition);
/// assert_eq!(table.offsets, OffsetKeeper::Core);
/// let queue = SourceProfile::new(Replay::FromPosition).with_offsets(OffsetKeeper::Upstream);
/// let webhook = SourceProfile::new(Replay::ByCaller);
/// assert_eq!(webhook.offsets, OffsetKeeper::Nobody);
/// # let _ = queue;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceProfile {
    /// What becomes of an event that was not confirmed when the process ended.
    pub replay: Replay,
    /// Who keeps the positions.
    pub offsets: OffsetKeeper,
    /// When an event counts as delivered for whoever sent it. Default [`Accept::Mesh`].
    pub accept: Accept,
    /// Does it take a topic as its input? Default [`InputUse::Never`].
    pub input: InputUse,
    /// Events of the input that it works on at the same time, at the most; `input.in_flight` overrides it. Default 16.
    pub input_in_flight: usize,
}

impl SourceProfile {
    /// A profile with the usual keeper of positions: the core where the source reads from a position, else nobody.
    pub fn new(replay: Replay) -> Self {
        let offsets = match replay {
            Replay::FromPosition => OffsetKeeper::Core,
            Replay::ByCaller | Replay::Never => OffsetKeeper::Nobody,
        };
        Self {
            replay,
            offsets,
            accept: Accept::Mesh,
            input: InputUse::Never,
            input_in_flight: INPUT_IN_FLIGHT,
        }
    }

    /// With another moment at which events count as delivered.
    #[must_use]
    pub fn with_accept(self, accept: Accept) -> Self {
        Self { accept, ..self }
    }

    /// With a topic as its input, see [`Input`](super::Input): for sources without positions. The setting `input` is there when the
    /// configuration's type says so too ([`ConnectorConfig::TAKES_INPUT`](crate::config::ConnectorConfig::TAKES_INPUT)).
    #[must_use]
    pub fn with_input(self, input: InputUse) -> Self {
        Self { input, ..self }
    }

    /// With another number of events of the input at the same time.
    #[must_use]
    pub fn with_input_in_flight(self, input_in_flight: usize) -> Self {
        Self { input_in_flight, ..self }
    }

    /// With another keeper of positions.
    #[must_use]
    pub fn with_offsets(self, offsets: OffsetKeeper) -> Self {
        Self { offsets, ..self }
    }
}
