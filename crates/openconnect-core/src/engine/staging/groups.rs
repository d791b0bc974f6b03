//! Which generation an event belongs to, and when each ends: pure, so that it is tested by itself.
//!
//! A generation is known by the sequence of its first entry in the inbox. That is the same after a crash, because the entry has no
//! outcome before the generation is visible; and no other generation of any group has it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::staging::{EventTime, Group, GroupRules, LeadingEdge, Schedule};

/// Both clocks: the wall clock jumps, the other one begins with the process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// In ms since the epoch.
    pub(crate) wall_ms: u64,
    /// In ms since any moment.
    pub(crate) steady_ms: u64,
}

/// An event that comes in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) sequence: u64,
    pub(crate) bytes: u64,
    /// By the wall clock.
    pub(crate) arrived_ms: u64,
    /// The event's own time.
    pub(crate) event_ms: u64,
}

/// Where an event went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) generation: u64,
    /// Generations that have ended; perhaps this one.
    pub(crate) ended: Vec<u64>,
}

#[derive(Debug)]
struct Open {
    generation: u64,
    events: u64,
    bytes: u64,
    first_ms: u64,
    last_ms: u64,
    opened: u64,
    touched: u64,
    /// Of a busy group with a leading edge.
    window: Option<Duration>,
    /// Where the newest interval of its events' time ends.
    interval_end: u64,
    /// Had that interval ended when the group began?
    late: bool,
}

/// The newest time of any event, and when the last one came.
#[derive(Debug, Default)]
struct Newest {
    event_ms: u64,
    steady_ms: u64,
}

impl Newest {
    fn note(&mut self, event_ms: u64, now: Now) {
        (self.event_ms, self.steady_ms) = (self.event_ms.max(event_ms), now.steady_ms);
    }

    /// Goes on with the clock while no event comes; an event takes it back, so that those that waited behind a fault are not late.
    fn at(&self, now: Now) -> u64 {
        self.event_ms.saturating_add(now.steady_ms.saturating_sub(self.steady_ms))
    }
}

/// When the last generation of a group with a leading edge ended, and how long its next one collects.
#[derive(Debug)]
struct Recent {
    ended: u64,
    window: Duration,
}

/// The open groups.
#[derive(Debug)]
pub(crate) struct Groups {
    rules: GroupRules,
    open: HashMap<Group, Open>,
    by_age: BTreeMap<u64, Group>,
    recent: HashMap<Group, Recent>,
    newest: Newest,
}

impl Groups {
    pub(crate) fn new(rules: GroupRules) -> Self {
        Self {
            rules,
            open: HashMap::new(),
            by_age: BTreeMap::new(),
            recent: HashMap::new(),
            newest: Newest::default(),
        }
    }

    /// The open generation of a group.
    pub(crate) fn generation(&self, group: &Group) -> Option<u64> {
        self.open.get(group).map(|open| open.generation)
    }

    /// Puts an event into its group. Sequences come in ascending order.
    pub(crate) fn arrive(&mut self, group: &Group, arrival: Arrival, now: Now) -> Placed {
        let mut ended = Vec::new();
        let event_ms = arrival.event_ms.min(arrival.arrived_ms);
        self.newest.note(event_ms, now);
        let interval_end = self.rules.event_time.map_or(0, |rule| end_of_interval(rule.intervals, event_ms));
        let exceeds = |open: &Open, most: u64| open.bytes + arrival.bytes > most;
        if let Some(open) = self.open.get(group)
            && self.rules.max_bytes.is_some_and(|most| exceeds(open, most))
        {
            ended.extend(self.end(group, now));
        }
        if !self.open.contains_key(group) {
            if self.open.len() >= self.rules.max_open.max(1) {
                ended.extend(self.end_oldest(now));
            }
            self.begin(group, arrival, interval_end, now);
        }
        let Some(open) = self.open.get_mut(group) else {
            return Placed {
                generation: arrival.sequence,
                ended,
            };
        };
        let generation = open.generation;
        open.events += 1;
        open.bytes += arrival.bytes;
        (open.last_ms, open.touched) = (arrival.arrived_ms, now.steady_ms);
        open.interval_end = open.interval_end.max(interval_end);
        let leads = self.rules.leading_edge.is_some() && open.window.is_none();
        let full =
            self.rules.max_events.is_some_and(|most| open.events >= most) || self.rules.max_bytes.is_some_and(|most| open.bytes >= most);
        if leads || full {
            ended.extend(self.end(group, now));
        }
        Placed { generation, ended }
    }

    fn begin(&mut self, group: &Group, arrival: Arrival, interval_end: u64, now: Now) {
        let window = self.rules.leading_edge.and_then(|edge| self.window(group, edge, now));
        let open = Open {
            generation: arrival.sequence,
            events: 0,
            bytes: 0,
            first_ms: arrival.arrived_ms,
            last_ms: arrival.arrived_ms,
            opened: now.steady_ms,
            touched: now.steady_ms,
            window,
            interval_end,
            late: self.rules.event_time.is_some_and(|rule| self.is_over(interval_end, rule, now)),
        };
        self.by_age.insert(open.generation, group.clone());
        self.open.insert(group.clone(), open);
    }

    /// How long the next generation of a group collects; none when the group was quiet: its first event is shown at once.
    fn window(&self, group: &Group, edge: LeadingEdge, now: Now) -> Option<Duration> {
        let recent = self.recent.get(group)?;
        (millis(edge.quiet) > now.steady_ms.saturating_sub(recent.ended)).then_some(recent.window)
    }

    /// Ends every group whose time has come, the oldest first.
    pub(crate) fn end_due(&mut self, now: Now) -> Vec<u64> {
        let is_due = |group: &&Group| self.open.get(*group).is_some_and(|open| self.is_due(open, now));
        let due: Vec<Group> = self.by_age.values().filter(is_due).cloned().collect();
        due.iter().filter_map(|group| self.end(group, now)).collect()
    }

    fn is_due(&self, open: &Open, now: Now) -> bool {
        let over = |span: Duration, wall: u64, steady: u64| {
            now.wall_ms.saturating_sub(wall) >= millis(span) || now.steady_ms.saturating_sub(steady) >= millis(span)
        };
        let old = |age: Duration| over(age, open.first_ms, open.opened);
        let scheduled = |schedule: Schedule| {
            now.wall_ms >= end_of_interval(schedule, open.first_ms) || now.steady_ms.saturating_sub(open.opened) >= millis(schedule.every)
        };
        let is_over = |rule: EventTime| {
            if open.late {
                old(rule.lateness)
            } else {
                self.is_over(open.interval_end, rule, now)
            }
        };
        self.rules.max_age.is_some_and(old)
            || open.window.is_some_and(old)
            || self.rules.idle.is_some_and(|idle| over(idle, open.last_ms, open.touched))
            || self.rules.schedule.is_some_and(scheduled)
            || self.rules.event_time.is_some_and(is_over)
    }

    /// Has the newest time passed the end of an interval by the lateness?
    fn is_over(&self, interval_end: u64, rule: EventTime, now: Now) -> bool {
        self.newest.at(now) >= interval_end.saturating_add(millis(rule.lateness))
    }

    /// Ends the oldest group.
    pub(crate) fn end_oldest(&mut self, now: Now) -> Option<u64> {
        let group = self.by_age.values().next()?.clone();
        self.end(&group, now)
    }

    /// Ends every group, the oldest first.
    pub(crate) fn end_all(&mut self, now: Now) -> Vec<u64> {
        std::iter::from_fn(|| self.end_oldest(now)).collect()
    }

    fn end(&mut self, group: &Group, now: Now) -> Option<u64> {
        let open = self.open.remove(group)?;
        self.by_age.remove(&open.generation);
        if let Some(edge) = self.rules.leading_edge {
            let window = open.window.map_or(edge.window, |window| (window * 2).min(edge.max_window));
            let ended = now.steady_ms;
            self.recent.insert(group.clone(), Recent { ended, window });
            self.forget_quiet(edge, now);
        }
        Some(open.generation)
    }

    /// Keeps the memory of groups that are gone bounded.
    fn forget_quiet(&mut self, edge: LeadingEdge, now: Now) {
        if self.recent.len() <= self.rules.max_open.max(1) * 2 {
            return;
        }
        self.recent
            .retain(|_, recent| now.steady_ms.saturating_sub(recent.ended) < millis(edge.quiet));
        while self.recent.len() > self.rules.max_open.max(1) {
            let oldest = self
                .recent
                .iter()
                .min_by_key(|(_, recent)| recent.ended)
                .map(|(group, _)| group.clone());
            let Some(oldest) = oldest else { return };
            self.recent.remove(&oldest);
        }
    }
}

/// When the interval ends in which this moment is.
fn end_of_interval(schedule: Schedule, ms: u64) -> u64 {
    let (every, offset) = (millis(schedule.every).max(1), millis(schedule.offset));
    match ms.checked_sub(offset) {
        Some(shifted) => (shifted / every).saturating_add(1).saturating_mul(every).saturating_add(offset),
        None => offset,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const START: u64 = 1_700_000_000_000;

    fn at(ms: u64) -> Now {
        Now {
            wall_ms: START + ms,
            steady_ms: 5_000 + ms,
        }
    }

    fn arrival(sequence: u64, bytes: u64, ms: u64) -> Arrival {
        Arrival {
            sequence,
            bytes,
            arrived_ms: START + ms,
            event_ms: START + ms,
        }
    }

    fn group(name: &str) -> Group {
        Group::new(name)
    }

    #[test]
    fn a_group_ends_before_the_event_that_is_too_much() {
        let mut groups = Groups::new(GroupRules::new().max_bytes(100));
        assert_eq!(groups.arrive(&group("a"), arrival(1, 60, 0), at(0)).ended, [0_u64; 0]);
        let placed = groups.arrive(&group("a"), arrival(2, 60, 0), at(0));
        assert_eq!((placed.generation, placed.ended), (2, vec![1]));
        assert_eq!(groups.arrive(&group("a"), arrival(3, 40, 0), at(0)).ended, [2]);
    }

    #[test]
    fn age_counts_from_the_arrival_and_a_clock_that_is_set_back_delays_by_one_interval() {
        let rules = GroupRules::new().max_age(Some(Duration::from_secs(10)));
        // Read again after a restart: most of its age is in the past.
        let mut groups = Groups::new(rules.clone());
        groups.arrive(&group("a"), arrival(1, 1, 0), at(9_000));
        assert!(groups.end_due(at(9_999)).is_empty());
        assert_eq!(groups.end_due(at(10_000)), [1]);
        let mut groups = Groups::new(rules);
        groups.arrive(&group("a"), arrival(1, 1, 0), at(0));
        let back = |ms| Now {
            wall_ms: START - 86_400_000,
            ..at(ms)
        };
        assert!(groups.end_due(back(9_999)).is_empty());
        assert_eq!(groups.end_due(back(10_000)), [1]);
    }

    #[test]
    fn idle_time_schedule_and_too_many_groups_end_one() {
        let mut groups = Groups::new(GroupRules::new().idle(Duration::from_secs(1)).max_open(2));
        groups.arrive(&group("a"), arrival(1, 1, 0), at(0));
        groups.arrive(&group("b"), arrival(2, 1, 500), at(500));
        assert_eq!(groups.arrive(&group("c"), arrival(3, 1, 600), at(600)).ended, [1]);
        assert_eq!(groups.end_due(at(1_500)), [2]);
        assert_eq!(groups.end_due(at(1_600)), [3]);
        let hourly = Schedule {
            every: Duration::from_secs(3600),
            offset: Duration::from_secs(300),
        };
        let mut groups = Groups::new(GroupRules::new().max_age(None).schedule(hourly));
        // START is 800 s after a full hour.
        groups.arrive(&group("a"), arrival(1, 1, 0), at(0));
        assert!(groups.end_due(at((3600 + 300 - 800 - 1) * 1000)).is_empty());
        assert_eq!(groups.end_due(at((3600 + 300 - 800) * 1000)), [1]);
    }

    /// Ends a minute's file of the events' own time 10 s behind it. START is 20 s after a full minute.
    fn by_minutes() -> Groups {
        let minutes = Schedule {
            every: Duration::from_secs(60),
            offset: Duration::ZERO,
        };
        let rule = EventTime {
            intervals: minutes,
            lateness: Duration::from_secs(10),
        };
        Groups::new(GroupRules::new().max_age(None).event_time(rule))
    }

    fn of_time(sequence: u64, event_ms: u64, ms: u64) -> Arrival {
        Arrival {
            event_ms: START + event_ms,
            ..arrival(sequence, 1, ms)
        }
    }

    #[test]
    fn an_interval_of_the_events_time_ends_by_newer_events_or_by_the_clock() {
        // A backlog: the wall clock says nothing about it.
        let (mut groups, late) = (by_minutes(), 86_400_000);
        groups.arrive(&group("0"), of_time(1, 39_000, late), at(late));
        groups.arrive(&group("1"), of_time(2, 49_999, late + 1), at(late + 1));
        assert!(groups.end_due(at(late + 1)).is_empty());
        groups.arrive(&group("1"), of_time(3, 50_000, late + 1), at(late + 1));
        assert_eq!(groups.end_due(at(late + 1)), [1]);
        // No event comes any more: the minute that ends at 100 s is over 60 s after the event of 50 s.
        assert!(groups.end_due(at(late + 60_000)).is_empty());
        assert_eq!(groups.end_due(at(late + 60_001)), [2]);
    }

    #[test]
    fn a_wrong_clock_ends_no_interval_and_late_events_share_a_generation() {
        let mut groups = by_minutes();
        groups.arrive(&group("0"), of_time(1, 0, 0), at(0));
        groups.arrive(&group("2099"), of_time(2, 2_300_000_000_000, 1), at(1));
        assert!(groups.end_due(at(49_999)).is_empty());
        assert_eq!(groups.end_due(at(50_000)), [1, 2]);
        groups.arrive(&group("1"), of_time(3, 60_000, 60_000), at(60_000));
        groups.arrive(&group("0"), of_time(4, 1_000, 60_000), at(60_000));
        assert_eq!(groups.arrive(&group("0"), of_time(5, 2_000, 69_999), at(69_999)).generation, 4);
        assert!(groups.end_due(at(69_999)).is_empty());
        assert_eq!(groups.end_due(at(70_000)), [4]);
    }

    #[test]
    fn the_first_event_of_a_quiet_group_is_shown_at_once_and_the_window_grows() {
        let edge = LeadingEdge {
            quiet: Duration::from_secs(60),
            window: Duration::from_secs(10),
            max_window: Duration::from_secs(20),
        };
        let mut groups = Groups::new(GroupRules::new().leading_edge(edge));
        let alert = group("alerts");
        assert_eq!(groups.arrive(&alert, arrival(1, 1, 0), at(0)).ended, [1]);
        assert!(groups.arrive(&alert, arrival(2, 1, 1_000), at(1_000)).ended.is_empty());
        assert!(groups.arrive(&alert, arrival(3, 1, 2_000), at(2_000)).ended.is_empty());
        assert_eq!(groups.end_due(at(11_000)), [2]);
        groups.arrive(&alert, arrival(4, 1, 12_000), at(12_000));
        assert!(groups.end_due(at(31_999)).is_empty());
        assert_eq!(groups.end_due(at(32_000)), [4]);
        assert_eq!(groups.arrive(&alert, arrival(5, 1, 92_000), at(92_000)).ended, [5]);
    }

    proptest! {
        /// Whatever comes: each event is in one generation, a generation is of one group, holds no more than it may, and is not
        /// added to after its end.
        #[test]
        fn generations_keep_the_rules(
            steps in proptest::collection::vec((0_u8..6, 0_u64..50, 0_u64..400), 1..200),
            most in 1_u64..8, bytes in 20_u64..200, open in 1_usize..5,
        ) {
            let rules = GroupRules::new().max_events(most).max_bytes(bytes).max_open(open).max_age(Some(Duration::from_secs(1)));
            let mut groups = Groups::new(rules);
            let mut ms = 0;
            let mut generations: BTreeMap<u64, (Group, u64, u64, u64, bool)> = BTreeMap::new();
            for (sequence, (name, size, pause)) in (1..).zip(steps) {
                ms += pause;
                for ended in groups.end_due(at(ms)) {
                    let one = generations.get_mut(&ended).unwrap();
                    prop_assert!(!one.4 && ms - one.3 >= 1_000);
                    one.4 = true;
                }
                prop_assert!(generations.values().all(|one| one.4 || ms - one.3 < 1_000));
                let group = Group::new(name.to_string());
                let placed = groups.arrive(&group, arrival(sequence, size, ms), at(ms));
                let one = generations.entry(placed.generation).or_insert((group.clone(), 0, 0, ms, false));
                prop_assert!(one.0 == group && !one.4);
                (one.1, one.2) = (one.1 + 1, one.2 + size);
                prop_assert!(one.1 <= most && (one.2 <= bytes || one.1 == 1));
                for ended in placed.ended {
                    let one = generations.get_mut(&ended).unwrap();
                    prop_assert!(!one.4);
                    one.4 = true;
                }
                prop_assert_eq!(generations.values().filter(|one| !one.4).count(), groups.open.len());
                prop_assert!(groups.open.len() <= open);
            }
            let rest = groups.end_all(at(ms));
            prop_assert!(rest.is_sorted());
            for ended in rest {
                prop_assert!(!generations[&ended].4);
            }
        }
    }
}
