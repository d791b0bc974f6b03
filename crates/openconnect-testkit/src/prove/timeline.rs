//! What happened in a run, for people.

use std::fmt;
use std::time::{Duration, Instant};

/// Who did what, and when.
#[derive(Debug, Clone)]
pub struct Timeline {
    begun: Instant,
    entries: Vec<(Duration, &'static str, String)>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            entries: Vec::new(),
        }
    }
}

impl Timeline {
    /// Notes something.
    pub fn note(&mut self, who: &'static str, what: impl Into<String>) {
        self.entries.push((self.begun.elapsed(), who, what.into()));
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, who, what) in &self.entries {
            writeln!(f, "  {:>7.3} s  {who:<7} {what}", at.as_secs_f64())?;
        }
        Ok(())
    }
}
