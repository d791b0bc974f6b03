//! What a series of runs gave: for people, and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::run::Outcome;

/// The sums of one subject, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    /// Runs.
    pub(super) runs: usize,
    /// Runs in which something did not hold.
    pub(super) failed: usize,
    /// Processes killed by SIGKILL.
    pub(super) kills: usize,
    /// Events that must arrive.
    pub(super) events: usize,
    /// Events that did not.
    pub(super) lost: usize,
    /// Events that came after a later one of their key.
    pub(super) misordered: usize,
    /// Events that came again.
    pub(super) repeats: usize,
    /// Longest time from the end of the last fault until everything had arrived.
    pub(super) slowest_recovery_ms: u64,
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.failed += usize::from(!outcome.violations.is_empty());
        self.kills += outcome.kills;
        self.events += outcome.verdict.sent;
        self.lost += outcome.verdict.missing.len();
        self.misordered += outcome.verdict.out_of_order.len();
        self.repeats += outcome.verdict.repeated;
        let recovery = outcome.recovery.unwrap_or(Duration::ZERO).as_millis();
        self.slowest_recovery_ms = self.slowest_recovery_ms.max(u64::try_from(recovery).unwrap_or(u64::MAX));
    }
}

/// The report.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Report {
    /// The seed of the first run of each subject; run n has the seed + n.
    pub(super) seed: u64,
    /// By subject.
    pub(super) subjects: BTreeMap<String, Tally>,
    /// All together.
    pub(super) total: Tally,
    /// What could not be tried here.
    pub(super) skipped: Vec<String>,
}

impl Report {
    /// Adds a run.
    pub(super) fn add(&mut self, outcome: &Outcome) {
        self.subjects.entry(outcome.plan.subject.clone()).or_default().add(outcome);
        self.total.add(outcome);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, t: &Tally| {
            writeln!(
                f,
                "{name:<18} {:>6} {:>7} {:>6} {:>8} {:>6} {:>11} {:>8} {:>9.1} s",
                t.runs,
                t.failed,
                t.kills,
                t.events,
                t.lost,
                t.misordered,
                t.repeats,
                Duration::from_millis(t.slowest_recovery_ms).as_secs_f64()
            )
        };
        self.subjects.iter().try_for_each(|(name, tally)| row(name, tally))?;
        row("all", &self.total)
    }
}

/// The heading of the table.
pub(super) const HEADING: &str = "subject              runs  failed  kills   events   lost  misordered  repeats  slowest recovery";
