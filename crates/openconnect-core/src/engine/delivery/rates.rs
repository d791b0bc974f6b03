//! Rate limits: how many events may be written in a period of time, to each target or by the connector.
//!
//! In no period of that length more than `count` events are written, also across a restart: what a limit has spent is kept in the
//! connector's store before the write starts. The period is divided into slots, so that the state of a target is small whatever its
//! count is; a limit is at most one slot stricter than it says.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ring::digest;

use crate::config::{RateLimit, RateScope};
use crate::sink::Target;
use crate::store::{Change, StoreEntry};

/// Parts of a period.
const SLOTS: u32 = 60;
/// Shorter periods are over before a restart is.
const MIN_STORED_PERIOD: Duration = Duration::from_secs(5);
/// What the keys in the store begin with.
pub(crate) const STORE_PREFIX: &str = "_rate/";

/// What the limits have spent.
#[derive(Debug, Default)]
pub(crate) struct RateLimits(Vec<Limit>);

#[derive(Debug)]
struct Limit {
    rule: RateLimit,
    /// What was spent, by the key in the store.
    windows: HashMap<String, Window>,
    /// Keys whose value in the store is out of date.
    changed: Vec<String>,
}

/// What was spent in the last period: the start of each slot in which something was, and how much.
#[derive(Debug, Default)]
struct Window {
    slots: VecDeque<(Instant, usize)>,
    spent: usize,
}

impl RateLimits {
    pub(crate) fn new(rules: Vec<RateLimit>) -> Self {
        let limit = |rule| Limit {
            rule,
            windows: HashMap::new(),
            changed: Vec::new(),
        };
        Self(rules.into_iter().map(limit).collect())
    }

    /// Does anything of it belong into the store?
    pub(crate) fn are_stored(&self) -> bool {
        self.0.iter().any(Limit::is_stored)
    }

    /// How many events may be written to the target now.
    pub(crate) fn available(&mut self, target: &Target, now: Instant) -> usize {
        let available = self.0.iter_mut().map(|limit| {
            limit.expire(now);
            let spent = limit.windows.get(&limit.key(target)).map_or(0, |window| window.spent);
            limit.count().saturating_sub(spent)
        });
        available.min().unwrap_or(usize::MAX)
    }

    /// When so many events may be written to the target; more than a limit's count are taken for its count.
    pub(crate) fn ready_at(&self, target: &Target, events: usize, now: Instant) -> Instant {
        let ready = self.0.iter().map(|limit| limit.ready_at(target, events, now));
        ready.max().unwrap_or(now)
    }

    /// Notes that so many events are written to the target.
    pub(crate) fn spend(&mut self, target: &Target, events: usize, now: Instant) {
        for limit in &mut self.0 {
            limit.spend(target, events, now);
        }
    }

    /// What has changed since the last call, for the store.
    pub(crate) fn take_changes(&mut self, now: Instant, wall: SystemTime) -> Vec<Change> {
        let changes = self.0.iter_mut().filter(|limit| limit.is_stored()).flat_map(|limit| {
            let changed = std::mem::take(&mut limit.changed);
            let change = |key: String| match limit.windows.get(&key) {
                Some(window) => Change::put(key, window.encode(now, wall)),
                None => Change::remove(key),
            };
            changed.into_iter().map(change).collect::<Vec<_>>()
        });
        changes.collect()
    }

    /// Takes in what an earlier run has spent. Entries of limits that are no longer configured are removed by the next changes.
    pub(crate) fn restore(&mut self, entries: Vec<StoreEntry>, now: Instant, wall: SystemTime) -> Vec<Change> {
        let mut stale = Vec::new();
        for (key, value) in entries {
            let limit = self.0.iter_mut().find(|limit| key.starts_with(&limit.prefix()));
            match (limit, Window::decode(&value, now, wall)) {
                (Some(limit), Some(window)) if limit.is_stored() => drop(limit.windows.insert(key, window)),
                _ => stale.push(Change::remove(key)),
            }
        }
        self.0.iter_mut().for_each(|limit| limit.expire(now));
        stale
    }
}

impl Limit {
    fn count(&self) -> usize {
        self.rule.count.get() as usize
    }

    fn per(&self) -> Duration {
        self.rule.per.0
    }

    fn is_stored(&self) -> bool {
        self.per() >= MIN_STORED_PERIOD
    }

    /// How long a slot counts from its start.
    fn life(&self) -> Duration {
        self.per() + self.per() / SLOTS
    }

    fn prefix(&self) -> String {
        format!("{STORE_PREFIX}{}-{}/", self.rule.count, self.per().as_millis())
    }

    /// The key in the store. It holds a hash of the target, whose text may be secret.
    fn key(&self, target: &Target) -> String {
        let name = match self.rule.by {
            RateScope::Target => target.as_str(),
            RateScope::Connector => return self.prefix() + "connector",
        };
        let hash = digest::digest(&digest::SHA256, name.as_bytes());
        let hash = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}"));
        self.prefix() + "target-" + &hash.collect::<String>()
    }

    fn expire(&mut self, now: Instant) {
        let (life, stored, changed) = (self.life(), self.is_stored(), &mut self.changed);
        self.windows.retain(|key, window| {
            while let Some((_, spent)) = window.slots.pop_front_if(|(start, _)| *start + life <= now) {
                window.spent -= spent;
            }
            let used = !window.slots.is_empty();
            if !used && stored {
                changed.push(key.clone());
            }
            used
        });
    }

    fn ready_at(&self, target: &Target, events: usize, now: Instant) -> Instant {
        let Some(window) = self.windows.get(&self.key(target)) else {
            return now;
        };
        let room = self.count() - events.min(self.count());
        let mut spent = window.spent;
        let mut ready = now;
        for (start, of_slot) in &window.slots {
            if spent <= room {
                break;
            }
            spent -= of_slot;
            ready = ready.max(*start + self.life());
        }
        ready
    }

    fn spend(&mut self, target: &Target, events: usize, now: Instant) {
        let (key, slot) = (self.key(target), self.per() / SLOTS);
        if self.is_stored() && !self.changed.contains(&key) {
            self.changed.push(key.clone());
        }
        let window = self.windows.entry(key).or_default();
        window.spent += events;
        match window.slots.back_mut() {
            // The slot began with its first event, so that it ends no later than it should.
            Some((start, spent)) if now < *start + slot => *spent += events,
            _ => window.slots.push_back((now, events)),
        }
    }
}

impl Window {
    /// `[[milliseconds since 1970, events], …]`
    fn encode(&self, now: Instant, wall: SystemTime) -> Vec<u8> {
        let slots = self.slots.iter().map(|(start, spent)| {
            let at = wall - now.saturating_duration_since(*start);
            let millis = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            format!("[{millis},{spent}]")
        });
        format!("[{}]", slots.collect::<Vec<_>>().join(",")).into_bytes()
    }

    fn decode(value: &[u8], now: Instant, wall: SystemTime) -> Option<Self> {
        let mut slots: Vec<(u64, usize)> = serde_json::from_slice(value).ok()?;
        slots.sort_unstable();
        let mut window = Self::default();
        for (millis, spent) in slots {
            let at = UNIX_EPOCH + Duration::from_millis(millis);
            // A clock that was set back: what was spent counts from now.
            let age = wall.duration_since(at).unwrap_or_default();
            window.slots.push_back((now.checked_sub(age)?, spent));
            window.spent += spent;
        }
        Some(window)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::duration::HumanDuration;

    fn limits(rules: &[(u32, u64, RateScope)]) -> RateLimits {
        let rule = |&(count, secs, by)| RateLimit {
            count: NonZeroU32::new(count).unwrap(),
            per: HumanDuration(Duration::from_secs(secs)),
            by,
        };
        RateLimits::new(rules.iter().map(rule).collect())
    }

    #[test]
    fn a_target_that_has_spent_its_limit_leaves_others_theirs() {
        let (now, a, b) = (Instant::now(), Target::new("a"), Target::new("b"));
        let mut limits = limits(&[(20, 60, RateScope::Target), (25, 60, RateScope::Connector)]);
        limits.spend(&a, 20, now);
        assert_eq!((limits.available(&a, now), limits.available(&b, now)), (0, 5));
        let ready = limits.ready_at(&a, 1, now);
        assert!(ready - now >= Duration::from_secs(60) && ready - now <= Duration::from_secs(61));
        assert_eq!(limits.available(&a, ready), 20);
    }

    #[test]
    fn a_restart_knows_what_was_spent_and_a_clock_set_back_gives_nothing_away() {
        let (now, wall, target) = (Instant::now() + Duration::from_secs(100), SystemTime::now(), Target::new("secret"));
        let rules = [(10, 60, RateScope::Target)];
        let mut first = limits(&rules);
        first.spend(&target, 4, now);
        first.spend(&target, 3, now + Duration::from_secs(20));
        let changes = first.take_changes(now + Duration::from_secs(20), wall);
        assert!(first.take_changes(now, wall).is_empty());
        assert!(changes.len() == 1 && !changes[0].key().contains("secret"));
        let entries = || vec![(changes[0].key().to_owned(), changes[0].value().unwrap().to_vec())];
        let mut second = limits(&rules);
        assert!(second.restore(entries(), now, wall + Duration::from_secs(30)).is_empty());
        assert_eq!(second.available(&target, now), 3);
        assert_eq!(second.available(&target, now + Duration::from_secs(12)), 7);
        let mut set_back = limits(&rules);
        set_back.restore(entries(), now, wall - Duration::from_secs(3600));
        assert_eq!(set_back.available(&target, now + Duration::from_secs(59)), 3);
        let mut others = limits(&[(5, 7, RateScope::Connector)]);
        assert_eq!(others.restore(entries(), now, wall).len(), 1, "no limit has this entry any more");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whenever as much is spent as is available, no period has more than the count.
        #[test]
        fn no_period_has_more(steps in prop::collection::vec((0u64..3_000, 1usize..8), 1..80)) {
            let (mut limits, target) = (limits(&[(10, 6, RateScope::Target)]), Target::ONE);
            let mut now = Instant::now();
            let mut spent: Vec<(Instant, usize)> = Vec::new();
            for (pass, wanted) in steps {
                now += Duration::from_millis(pass);
                let events = wanted.min(limits.available(&target, now));
                if events == 0 {
                    let ready = limits.ready_at(&target, 1, now);
                    prop_assert!(ready > now);
                    now = ready;
                    prop_assert!(limits.available(&target, now) > 0);
                    continue;
                }
                limits.spend(&target, events, now);
                spent.push((now, events));
                let period = spent.iter().filter(|(at, _)| now - *at < Duration::from_secs(6));
                prop_assert!(period.map(|(_, events)| events).sum::<usize>() <= 10);
            }
        }
    }
}
