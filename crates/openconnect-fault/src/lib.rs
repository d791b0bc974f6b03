//! Named places where a test may kill the process, and defects that a test may plant.
//!
//! Without the features `failpoints` and `defects`, which no release has, both functions are empty and cost nothing. With
//! them, an environment variable chooses:
//!
//! * `OPENCONNECT_FAILPOINT=<place>[:<n>]`: the process kills itself (SIGKILL) when it comes to the place for the n-th time.
//! * `OPENCONNECT_DEFECT=<defect>`: the code is wrong in that way, so that the proof of delivery can show that it notices.

/// An enum whose values have names for people and for the environment.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// By its name.
            pub fn by_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }
    };
}

named! {
    /// A place where a process may be killed: between two steps of which the second must not be lost with the first.
    Failpoint {
        /// Source: the mesh has the event; nobody has been told.
        Published = "source.published",
        /// Source: the caller knows, the offset is not stored.
        BeforeOffset = "source.before-offset",
        /// Source: the offset is stored, the source has not been told.
        BeforeCommit = "source.before-commit",
        /// Source: the answers to an event of the input have their outcome, the event is not resolved.
        Answered = "source.answered",
        /// Source: the dead letter of an event of the input is durable, the event is not resolved.
        InputDeadLetter = "source.input-dead-letter",
        /// Sink: the target has the batch, its outcome is not noted.
        Written = "sink.written",
        /// Sink: the dead letter is durable, its event is not resolved.
        DeadLetter = "sink.dead-letter",
        /// Inbox: what arrived is appended, not synced.
        InboxAppended = "inbox.appended",
        /// Inbox: what arrived is durable, not acknowledged.
        InboxSynced = "inbox.synced",
        /// Inbox: the checkpoint is due, not written.
        BeforeCheckpoint = "inbox.before-checkpoint",
        /// Inbox: the checkpoint is written, what it covers is not removed.
        Checkpoint = "inbox.checkpoint",
        /// Inbox: held entries are copied to the end, no checkpoint says so.
        InboxCopied = "inbox.copied",
        /// Staging: events are about to be handed to the sink.
        BeforeStage = "staging.before-stage",
        /// Staging: the sink has taken events in, nobody has noted it.
        Staged = "staging.staged",
        /// Staging: a group has ended, its seal record is not written.
        BeforeSealRecord = "staging.before-record",
        /// Staging: the seal record is durable, nothing is visible.
        SealRecorded = "staging.recorded",
        /// Staging: a group is visible, its entries are not resolved.
        Sealed = "staging.sealed",
        /// Staging: the entries of a visible group are resolved, its seal record is still there.
        SealResolved = "staging.resolved",
        /// Staging: what another run left behind is about to be discarded.
        BeforeDiscard = "staging.before-discard",
        /// Staging: it is discarded, its handle is still there.
        Discarded = "staging.discarded",
        /// Mesh: published events are durable, not acknowledged.
        MeshAppended = "mesh.appended",
        /// Mesh: events are about to be written.
        MeshBeforeAppend = "mesh.before-append",
        /// Mesh: a member's acknowledgement has come, nothing is noted.
        MeshAcknowledged = "mesh.acknowledged",
        /// Mesh: the groups' cursors are due, not saved.
        MeshBeforeCursors = "mesh.before-cursors",
    }
}

named! {
    /// A defect as it could slip in.
    Defect {
        /// Sink: the mesh is told before the target has the event.
        AckBeforeWrite = "ack-before-write",
        /// Source: the offset moves before the mesh has confirmed.
        OffsetBeforeAck = "offset-before-ack",
        /// Source: the caller is told before the mesh has confirmed.
        ReceiptBeforeConfirmation = "receipt-before-confirmation",
        /// Sink: what is undelivered at shutdown counts as delivered.
        DropOnShutdown = "drop-on-shutdown",
        /// Sink: a permanent failure is neither delivered nor a dead letter.
        SwallowedFailure = "swallowed-failure",
        /// Sink: later events of a key go on while an earlier one waits for its retry.
        ReorderOnRetry = "reorder-on-retry",
        /// Sink: a batch with one poison event is dropped whole.
        PoisonBatch = "poison-batch",
        /// Inbox: acknowledged before it is written.
        InboxAckBeforeWrite = "inbox-ack-before-write",
        /// Inbox: the checkpoint covers what has no outcome.
        CheckpointAhead = "checkpoint-ahead",
        /// Source: every publish gets an id of its own, so that no target knows a repeat.
        FreshId = "fresh-id",
        /// Source: the data is cut short now and then.
        AlteredPayload = "altered-payload",
        /// Staging: an event counts as delivered when it is staged, before its group is visible.
        ResolveWhenStaged = "resolve-when-staged",
        /// Staging: the inbox takes an event again that it already has.
        TakeRepeats = "take-repeats",
        /// Mesh: a publish is confirmed before it is written.
        MeshAckBeforeAppend = "mesh-ack-before-append",
        /// Mesh: what a lost member had counts as acknowledged, as if its redelivery were a repeat.
        MeshNoRedelivery = "mesh-no-redelivery",
    }
}

/// Kills the process when this place is the chosen one and it was reached often enough.
#[cfg(feature = "failpoints")]
pub fn reach(place: Failpoint) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static CHOSEN: LazyLock<Option<(Failpoint, AtomicU32)>> = LazyLock::new(|| {
        let text = std::env::var("OPENCONNECT_FAILPOINT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((Failpoint::by_name(name)?, AtomicU32::new(count.parse().ok()?)))
    });
    if let Some((chosen, left)) = &*CHOSEN
        && *chosen == place
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal takes its time; nothing happens after this place.
        loop {
            std::thread::park();
        }
    }
}

/// Does nothing.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_: Failpoint) {}

/// Is this the defect that was chosen?
#[cfg(feature = "defects")]
pub fn planted(defect: Defect) -> bool {
    use std::sync::LazyLock;

    static CHOSEN: LazyLock<Option<Defect>> = LazyLock::new(|| Defect::by_name(&std::env::var("OPENCONNECT_DEFECT").ok()?));
    *CHOSEN == Some(defect)
}

/// No.
#[cfg(not(feature = "defects"))]
#[inline(always)]
pub const fn planted(_: Defect) -> bool {
    false
}
