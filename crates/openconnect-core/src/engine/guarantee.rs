//! The guarantee, computed from the links of the chain; the weakest one decides and is named.

use crate::codes;
use crate::config::{Acknowledge, Guarantee};
use crate::error::{Error, Result};
use crate::inbox::WINDOW_EVENTS;
use crate::mesh::Capabilities;
use crate::source::{Accept, Replay};
use crate::staging::Repeats;

/// A guarantee and the link that sets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Computed {
    /// What holds.
    pub guarantee: Guarantee,
    /// The link that decides it, for people.
    pub because: String,
    /// What would make it stronger.
    pub hint: Option<String>,
}

impl Guarantee {
    /// The name in configuration, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AtMostOnce => "at-most-once",
            Self::AtLeastOnce => "at-least-once",
            Self::EffectivelyOnce => "effectively-once",
        }
    }
}

/// A source's guarantee.
pub(crate) fn of_source(replay: Replay, accept: Accept) -> Computed {
    let (guarantee, because) = match (replay, accept) {
        (Replay::Never, _) => (Guarantee::AtMostOnce, "this source can't read an event a second time after a crash"),
        (_, Accept::Mesh) => (
            Guarantee::AtLeastOnce,
            "the source goes on, or its client is told, only after the mesh has confirmed the event",
        ),
        (_, Accept::Spool) => (
            Guarantee::AtLeastOnce,
            "the source goes on, or its client is told, only after the event is in the spool on disk, which keeps it until the mesh has \
             confirmed it",
        ),
    };
    Computed {
        guarantee,
        because: because.into(),
        hint: None,
    }
}

/// How a sink, or the input of a source, acknowledges, once the mesh has told what it does with what is not acknowledged.
pub(crate) fn acknowledge(setting: Acknowledge, mesh: &Capabilities) -> Acknowledge {
    match setting {
        Acknowledge::Auto if mesh.redelivers => Acknowledge::Write,
        Acknowledge::Auto => Acknowledge::Inbox,
        other => other,
    }
}

/// What is lost on the way from the mesh; `acknowledge` is resolved, and is the setting `name`.
fn lossy_subscription(acknowledge: Acknowledge, mesh: &Capabilities, name: &str) -> Option<Computed> {
    let server = &mesh.server;
    if !mesh.acknowledges {
        return Some(Computed {
            guarantee: Guarantee::AtMostOnce,
            because: format!(
                "a gRPC subscription to {server} has no acknowledgement: an event counts as consumed once it is written to the stream"
            ),
            hint: Some("Subscribe over TCP (mesh.url: tcp://host:10000), or accept the loss with delivery.require: at-most-once.".into()),
        });
    }
    let forgets = acknowledge == Acknowledge::Write && !mesh.redelivers;
    forgets.then(|| Computed {
        guarantee: Guarantee::AtMostOnce,
        because: format!("{server} forgets what is not acknowledged within 3 to 8 seconds, and {name} is write"),
        hint: Some(format!("Set {name} to auto or inbox.")),
    })
}

/// Where an event is until it has its outcome.
fn kept(acknowledge: Acknowledge) -> &'static str {
    if acknowledge == Acknowledge::Write {
        "the mesh keeps an event"
    } else {
        "the inbox on disk keeps an event"
    }
}

/// The guarantee of a source with an input: the weaker one of what the source does and what the subscription does. `acknowledge` is
/// resolved.
pub(crate) fn with_input(source: Computed, acknowledge: Acknowledge, mesh: &Capabilities) -> Computed {
    let input = lossy_subscription(acknowledge, mesh, "input.acknowledge").unwrap_or_else(|| Computed {
        guarantee: Guarantee::AtLeastOnce,
        because: format!(
            "{} of the input until each of its answers has its outcome, and after a crash it may be answered again",
            kept(acknowledge)
        ),
        hint: None,
    });
    if source.guarantee < input.guarantee { source } else { input }
}

/// A sink's guarantee; `acknowledge` is resolved.
pub(crate) fn of_sink(acknowledge: Acknowledge, mesh: &Capabilities, idempotent: bool) -> Computed {
    if let Some(lossy) = lossy_subscription(acknowledge, mesh, "delivery.acknowledge") {
        return lossy;
    }
    let (guarantee, repeat) = if idempotent {
        (Guarantee::EffectivelyOnce, "a repeated write changes nothing")
    } else {
        (Guarantee::AtLeastOnce, "a repeated write may show in the target")
    };
    Computed {
        guarantee,
        because: format!("{} until the target has it, and {repeat}", kept(acknowledge)),
        hint: None,
    }
}

/// A staging sink's guarantee.
pub(crate) fn of_staging_sink(mesh: &Capabilities, repeats: Repeats) -> Computed {
    let by_inbox = of_sink(Acknowledge::Inbox, mesh, repeats == Repeats::Known);
    let because = match by_inbox.guarantee {
        Guarantee::AtMostOnce => by_inbox.because,
        Guarantee::AtLeastOnce => {
            "the inbox on disk keeps an event until its group is visible, and after a crash a group may be shown twice: the target can't say \
             what is visible"
                .into()
        }
        Guarantee::EffectivelyOnce => format!(
            "the inbox on disk keeps an event until its group is visible, and drops what is among the last {WINDOW_EVENTS} events it took; with \
             several replicas it is at least once"
        ),
    };
    Computed { because, ..by_inbox }
}

/// Refuses what is below `delivery.require`.
pub(crate) fn enforce(computed: &Computed, required: Guarantee) -> Result<()> {
    let holds = computed.guarantee.as_str();
    if computed.guarantee >= required {
        return Ok(());
    }
    let accept = format!("Set delivery.require: {holds} to accept it.");
    Err(Error::config(
        codes::GUARANTEE_MISSED,
        format!(
            "delivery.require is {}, but only {holds} holds: {}",
            required.as_str(),
            computed.because
        ),
    )
    .hint(computed.hint.clone().unwrap_or(accept)))
}
