//! When a group ends, and what a staging sink promises.

use std::time::Duration;

/// When a group ends. Each rule works by itself, without another event: the first that holds ends the group. Times are by the wall
/// clock, from the arrival of the group's first event in the inbox, so that they survive restarts; a clock that is set back delays a
/// group by one interval at the most.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GroupRules {
    /// Events in a group. Default: no limit.
    pub max_events: Option<u64>,
    /// Bytes of a group's events, as the mesh carries them. A group ends before the event that would exceed it. Default: no limit.
    pub max_bytes: Option<u64>,
    /// Age since the first event. Default 5 minutes.
    pub max_age: Option<Duration>,
    /// Time since the last event. Default: no limit.
    pub idle: Option<Duration>,
    /// Times of the day at which every group ends. Default: none.
    pub schedule: Option<Schedule>,
    /// The end of an interval of the events' own time. Default: none.
    pub event_time: Option<EventTime>,
    /// Open groups; one more ends the oldest. Default 1,000.
    pub max_open: usize,
    /// For digests: the first event of a quiet group is shown at once. Default: it is not.
    pub leading_edge: Option<LeadingEdge>,
}

impl Default for GroupRules {
    fn default() -> Self {
        Self::new()
    }
}

impl GroupRules {
    /// The defaults.
    pub const fn new() -> Self {
        Self {
            max_events: None,
            max_bytes: None,
            max_age: Some(Duration::from_secs(300)),
            idle: None,
            schedule: None,
            event_time: None,
            max_open: 1_000,
            leading_edge: None,
        }
    }

    /// Sets [`Self::max_events`].
    pub const fn max_events(mut self, events: u64) -> Self {
        self.max_events = Some(events);
        self
    }

    /// Sets [`Self::max_bytes`].
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Sets [`Self::max_age`]; without it another rule must end a group that gets no more events.
    pub const fn max_age(mut self, age: Option<Duration>) -> Self {
        self.max_age = age;
        self
    }

    /// Sets [`Self::idle`].
    pub const fn idle(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// Sets [`Self::schedule`].
    pub const fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = Some(schedule);
        self
    }

    /// Sets [`Self::event_time`].
    pub const fn event_time(mut self, event_time: EventTime) -> Self {
        self.event_time = Some(event_time);
        self
    }

    /// Sets [`Self::max_open`].
    pub const fn max_open(mut self, groups: usize) -> Self {
        self.max_open = groups;
        self
    }

    /// Sets [`Self::leading_edge`].
    pub const fn leading_edge(mut self, edge: LeadingEdge) -> Self {
        self.leading_edge = Some(edge);
        self
    }
}

/// Every `every` from midnight UTC on, shifted by `offset`: with 1 h and 5 min, five minutes past each hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The interval.
    pub every: Duration,
    /// How long after the multiples of the interval.
    pub offset: Duration,
}

/// A group ends when the interval of its events' own time is over, by [`StagingSink::time`](super::StagingSink::time): when the newest
/// time of any event has passed the interval's end by `lateness`. While no event comes, the newest time goes on with the clock, so
/// that the last interval ends too. A time behind the event's arrival counts as the arrival: one wrong clock ends no interval.
///
/// The name of a group must tell the interval, such as the hour; else a group goes on with its newest event's interval. An event that
/// comes later still begins another generation, which collects for `lateness` from its own begin, so that a stream of late events
/// does not become a file for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTime {
    /// The intervals: one ends at each of these times.
    pub intervals: Schedule,
    /// How long events of an interval may come behind newer ones.
    pub lateness: Duration,
}

/// The first event of a group that was quiet is shown at once; those that follow are collected for a window, which grows while the
/// group stays busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeadingEdge {
    /// A group is quiet when its last generation ended at least this long ago.
    pub quiet: Duration,
    /// How long the events behind the first are collected.
    pub window: Duration,
    /// The window doubles with each generation of a busy group, up to this.
    pub max_window: Duration,
}

/// What [`sealed`](super::StagingSink::sealed) can say; decides the guarantee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Repeats {
    /// Whether a seal is visible is known, or a repeat changes nothing: effectively once.
    Known,
    /// It may be [`Unknown`](super::Sealed::Unknown): at least once.
    #[default]
    Unknown,
}

/// What a permanent failure of [`seal`](super::StagingSink::seal) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refused {
    /// The connector stops: the events of a file belong together.
    #[default]
    Stop,
    /// The generation is halved, and each half sealed by itself, until the events that spoil it stand alone; those go to the dead
    /// letters. For messages.
    Halve,
}

/// What becomes of open groups at shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AtShutdown {
    /// They are sealed within `delivery.shutdown_timeout`. For files.
    #[default]
    Seal,
    /// Their events stay in the inbox for the next start. For digests.
    Keep,
}

/// What suits a staging sink with its configuration, and what it promises.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StagingProfile {
    /// When a group ends.
    pub rules: GroupRules,
    /// Largest number of events in a call of `stage`. Default 100; `delivery.batch.max_events` overrides it.
    pub batch_events: usize,
    /// Largest size of the events in a call of `stage`, in bytes. A single event may be larger. Default 1 MiB;
    /// `delivery.batch.max_bytes` overrides it.
    pub batch_bytes: usize,
    /// Groups that are worked on at the same time. Default 4; `delivery.in_flight` overrides it.
    pub in_flight: usize,
    /// Can the target say whether a generation is visible? Default [`Repeats::Unknown`].
    pub repeats: Repeats,
    /// What a permanent failure of `seal` does. Default [`Refused::Stop`].
    pub refused: Refused,
    /// What becomes of open groups at shutdown. Default [`AtShutdown::Seal`].
    pub at_shutdown: AtShutdown,
}

impl StagingProfile {
    /// The defaults with these rules.
    pub const fn new(rules: GroupRules) -> Self {
        Self {
            rules,
            batch_events: 100,
            batch_bytes: 1 << 20,
            in_flight: 4,
            repeats: Repeats::Unknown,
            refused: Refused::Stop,
            at_shutdown: AtShutdown::Seal,
        }
    }

    /// Sets [`Self::batch_events`].
    pub const fn batch_events(mut self, events: usize) -> Self {
        self.batch_events = events;
        self
    }

    /// Sets [`Self::batch_bytes`].
    pub const fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// Sets [`Self::in_flight`].
    pub const fn in_flight(mut self, groups: usize) -> Self {
        self.in_flight = groups;
        self
    }

    /// Sets [`Self::repeats`].
    pub const fn repeats(mut self, repeats: Repeats) -> Self {
        self.repeats = repeats;
        self
    }

    /// Sets [`Self::refused`].
    pub const fn refused(mut self, refused: Refused) -> Self {
        self.refused = refused;
        self
    }

    /// Sets [`Self::at_shutdown`].
    pub const fn at_shutdown(mut self, at_shutdown: AtShutdown) -> Self {
        self.at_shutdown = at_shutdown;
        self
    }
}
