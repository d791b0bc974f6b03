//! What may happen to a pipeline, and to which part of it.

use std::fmt;
use std::time::Duration;

use openconnect_fault::Failpoint;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A process of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The source connector.
    Source,
    /// The mesh between them.
    Mesh,
    /// The sink connector.
    Sink,
}

impl Part {
    /// All of them, in the order of the flow.
    pub const ALL: [Self; 3] = [Self::Source, Self::Mesh, Self::Sink];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Mesh => "mesh",
            Self::Sink => "sink",
        }
    }
}

/// A network connection of the pipeline; each goes through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// From the source to the mesh.
    Source,
    /// From the mesh to the sink.
    Sink,
    /// From the sink to its target.
    Target,
}

impl Link {
    fn name(self) -> &'static str {
        match self {
            Self::Source => "source and mesh",
            Self::Sink => "mesh and sink",
            Self::Target => "sink and target",
        }
    }
}

/// How a target behaves that does not simply take everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// It can't be reached.
    Down,
    /// It refuses for now.
    Busy,
    /// It asks for fewer requests.
    Throttled,
    /// It refuses some events for good: those that [`super::poisoned`] says.
    Poison,
    /// It takes nothing and never answers.
    Silent,
    /// It takes everything, late, but within the deadline.
    Late,
    /// It takes everything and answers after the deadline.
    TooLate,
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// SIGKILL, and a new start.
    Kill {
        /// Who.
        part: Part,
    },
    /// A new start that kills itself at a place, and another start.
    Failpoint {
        /// Where; it names the part too.
        #[serde(serialize_with = "name_of", deserialize_with = "by_name")]
        at: Failpoint,
        /// When it comes there for the n-th time.
        nth: u32,
    },
    /// SIGTERM, and a new start.
    Terminate {
        /// Who.
        part: Part,
    },
    /// SIGSTOP, and SIGCONT after a while.
    Pause {
        /// Who.
        part: Part,
        /// For how long.
        ms: u64,
    },
    /// All connections of a link are closed.
    Cut {
        /// Which.
        link: Link,
    },
    /// What is sent over a link is lost; both ends think that it stands.
    HalfOpen {
        /// Which.
        link: Link,
        /// For how long.
        ms: u64,
    },
    /// A link carries little.
    Slow {
        /// Which.
        link: Link,
        /// For how long.
        ms: u64,
    },
    /// The target makes trouble.
    Target {
        /// Which.
        trouble: Trouble,
        /// For how long.
        ms: u64,
    },
    /// The wall clock jumps; the monotonic one does not.
    Clock {
        /// Whose.
        part: Part,
        /// How far.
        seconds: i64,
    },
    /// No file can grow.
    DiskFull {
        /// Whose.
        part: Part,
        /// For how long.
        ms: u64,
    },
    /// No file can be made in the folders of its state.
    ReadOnly {
        /// Whose.
        part: Part,
        /// For how long.
        ms: u64,
    },
}

impl Fault {
    /// How long it lasts; none when it is over at once.
    pub fn lasts(&self) -> Option<Duration> {
        match self {
            Self::Pause { ms, .. }
            | Self::HalfOpen { ms, .. }
            | Self::Slow { ms, .. }
            | Self::Target { ms, .. }
            | Self::DiskFull { ms, .. }
            | Self::ReadOnly { ms, .. } => Some(Duration::from_millis(*ms)),
            _ => None,
        }
    }

    /// May this part end by itself because of it?
    pub fn may_end(&self, whom: Part) -> bool {
        matches!(self, Self::DiskFull { part, .. } | Self::ReadOnly { part, .. } if *part == whom)
    }
}

/// The part that a failpoint is in; `with_inbox` is the one with an inbox.
pub fn part_of(at: Failpoint, with_inbox: Part) -> Part {
    match at.name().split_once('.').map(|(part, _)| part) {
        Some("source") => Part::Source,
        Some("mesh") => Part::Mesh,
        Some("inbox") => with_inbox,
        _ => Part::Sink,
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { part } => write!(f, "SIGKILL to the {}", part.name()),
            Self::Failpoint { at, nth } => write!(f, "whoever comes to {} the {nth}. time dies there", at.name()),
            Self::Terminate { part } => write!(f, "SIGTERM to the {}", part.name()),
            Self::Pause { part, ms } => write!(f, "SIGSTOP to the {} for {ms} ms", part.name()),
            Self::Cut { link } => write!(f, "connections between {} cut", link.name()),
            Self::HalfOpen { link, ms } => write!(f, "connections between {} half-open for {ms} ms", link.name()),
            Self::Slow { link, ms } => write!(f, "connections between {} slow for {ms} ms", link.name()),
            Self::Target { trouble, ms } => {
                let how = match trouble {
                    Trouble::Down => "can't be reached",
                    Trouble::Busy => "refuses for now",
                    Trouble::Throttled => "asks for fewer requests",
                    Trouble::Poison => "refuses some events for good",
                    Trouble::Silent => "takes nothing and never answers",
                    Trouble::Late => "answers late",
                    Trouble::TooLate => "takes everything and answers after the deadline",
                };
                write!(f, "target {how} for {ms} ms")
            }
            Self::Clock { part, seconds } => write!(f, "wall clock of the {} jumps by {seconds} s", part.name()),
            Self::DiskFull { part, ms } => write!(f, "disk full for the {} for {ms} ms", part.name()),
            Self::ReadOnly { part, ms } => write!(f, "state folder of the {} read-only for {ms} ms", part.name()),
        }
    }
}

fn name_of<S: Serializer>(at: &Failpoint, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(at.name())
}

fn by_name<'de, D: Deserializer<'de>>(from: D) -> Result<Failpoint, D::Error> {
    let name = String::deserialize(from)?;
    Failpoint::by_name(&name).ok_or_else(|| de::Error::custom(format!("there is no failpoint `{name}`")))
}
