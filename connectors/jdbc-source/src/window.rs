//! The last rows that were read. A transaction takes its number or its time first and commits later: its rows appear among
//! rows that were read already. So long as that may happen, which rows were read is remembered, and the others among them are
//! looked for.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::position::{Marks, Unsettled};

/// Rows that are remembered at the most: 16 MiB or so.
const MOST: usize = 500_000;
/// So many are stored with a position; if there are more, they are read again after a restart.
const STORED: usize = 500;
/// The window is made of so many parts; the oldest one is dropped when it is old enough.
const PARTS: u32 = 8;

/// What was read in one part of the time.
#[derive(Debug)]
struct Part {
    began: Instant,
    /// The last row before it.
    after: Option<Marks>,
    read: HashSet<u64>,
}

/// The rows that were read in the last time.
#[derive(Debug)]
pub(crate) struct Window {
    lag: Duration,
    parts: VecDeque<Part>,
    rows: usize,
}

impl Window {
    /// A window over nothing; `None` for a lag of 0.
    pub(crate) fn new(lag: Duration) -> Self {
        Self {
            lag,
            parts: VecDeque::new(),
            rows: 0,
        }
    }

    /// As it was stored.
    pub(crate) fn restore(&mut self, stored: &Unsettled, now: Instant) {
        let read: HashSet<u64> = stored.read.iter().flatten().copied().collect();
        self.rows = read.len();
        self.parts = VecDeque::from([Part {
            began: now,
            after: stored.after.clone(),
            read,
        }]);
    }

    /// How often the window is looked through, so that each row is looked for while it is in it.
    pub(crate) fn period(&self) -> Duration {
        self.lag / PARTS
    }

    /// Drops what is settled, and begins a new part when it is time; `after` is the last row that was read.
    pub(crate) fn advance(&mut self, now: Instant, after: Option<&Marks>) {
        if self.lag.is_zero() {
            return;
        }
        let part = self.period();
        // A part ends after `part`, and waits for the lag and one look from then on.
        let settled = self.lag + part * 2;
        while self.parts.len() > 1 && self.parts.front().is_some_and(|first| now.duration_since(first.began) > settled) {
            self.drop_first();
        }
        while self.parts.len() > 1 && self.rows > MOST {
            tracing::debug!(
                rows = self.rows,
                "too many rows at once: late ones are looked for among the last only"
            );
            self.drop_first();
        }
        if self.parts.back().is_none_or(|last| now.duration_since(last.began) > part) {
            self.parts.push_back(Part {
                began: now,
                after: after.cloned(),
                read: HashSet::new(),
            });
        }
    }

    fn drop_first(&mut self) {
        if let Some(first) = self.parts.pop_front() {
            self.rows -= first.read.len();
        }
    }

    /// Notes a row as read; false when it was already.
    pub(crate) fn note(&mut self, row: u64) -> bool {
        if self.knows(row) {
            return false;
        }
        if let Some(last) = self.parts.back_mut() {
            last.read.insert(row);
            self.rows += 1;
        }
        true
    }

    /// Was this row read?
    pub(crate) fn knows(&self, row: u64) -> bool {
        self.parts.iter().any(|part| part.read.contains(&row))
    }

    /// The last row before the window; none without a window.
    pub(crate) fn after(&self) -> Option<Option<&Marks>> {
        self.parts.front().map(|first| first.after.as_ref())
    }

    /// To be stored with a position.
    pub(crate) fn unsettled(&self) -> Option<Arc<Unsettled>> {
        let first = self.parts.front()?;
        let read = (self.rows <= STORED).then(|| {
            let mut read: Vec<u64> = self.parts.iter().flat_map(|part| part.read.iter().copied()).collect();
            read.sort_unstable();
            read
        });
        Some(Arc::new(Unsettled {
            after: first.after.clone(),
            read,
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use openconnect_sql::Mark;

    use super::*;

    #[test]
    fn rows_are_known_for_the_lag_and_then_settled() {
        let lag = Duration::from_secs(80);
        let (mut window, start) = (Window::new(lag), Instant::now());
        window.advance(start, None);
        assert!(window.note(1) && !window.note(1));
        for second in (10..=100).step_by(10) {
            window.advance(
                start + Duration::from_secs(second),
                Some(&Marks::from([Mark::Integer(second as i64)])),
            );
            assert!(window.knows(1), "{second}");
            assert_eq!(window.after(), Some(None), "{second}");
        }
        window.advance(start + Duration::from_secs(120), Some(&Marks::from([Mark::Integer(120)])));
        assert!(!window.knows(1));
        assert!(window.after().unwrap().is_some());
    }

    #[test]
    fn what_is_stored_is_known_again() {
        let mut window = Window::new(Duration::from_secs(60));
        window.advance(Instant::now(), Some(&Marks::from([Mark::Integer(5)])));
        window.note(9);
        let stored = window.unsettled().unwrap();
        let mut again = Window::new(Duration::from_secs(60));
        again.restore(&stored, Instant::now());
        assert!(again.knows(9) && !again.knows(8));
        assert_eq!(again.after(), Some(Some(&Marks::from([Mark::Integer(5)]))));
    }
}
