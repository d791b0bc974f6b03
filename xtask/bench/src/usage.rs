//! What a process takes, as the kernel counts it.

use std::path::PathBuf;
use std::time::Duration;

use openconnect_testkit::process::Process;
use serde::{Deserialize, Serialize};

/// One process in one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Resident memory before the load, in bytes; none when the load began with the process.
    pub(crate) idle: Option<u64>,
    /// The most resident memory until the end of the run, in bytes.
    pub(crate) peak: u64,
    /// Processor time for a million events, in seconds, while the events were counted.
    pub(crate) cpu_per_million: f64,
    /// From the start of the process to ready, in milliseconds.
    pub(crate) ready_ms: f64,
}

/// A process that is being measured.
pub(crate) struct Watched {
    name: &'static str,
    id: u32,
    idle: Option<u64>,
    ready: Duration,
    cpu: f64,
}

impl Watched {
    /// One that the load has not reached yet: what it takes now is what it takes when it has nothing to do.
    pub(crate) fn idle(name: &'static str, process: &Process, ready: Duration) -> Self {
        Self {
            idle: process.memory(),
            ..Self::busy(name, process, ready)
        }
    }

    /// One that has had work from its start.
    pub(crate) fn busy(name: &'static str, process: &Process, ready: Duration) -> Self {
        Self {
            ready,
            ..Self::by_id(name, process.id())
        }
    }

    /// One that somebody else started.
    pub(crate) fn by_id(name: &'static str, id: u32) -> Self {
        Self {
            name,
            id,
            idle: None,
            ready: Duration::ZERO,
            cpu: 0.0,
        }
    }

    /// Counting begins.
    pub(crate) fn begin(&mut self) {
        self.cpu = cpu_seconds(self.id).unwrap_or(0.0);
    }

    /// Counting ends after so many events.
    pub(crate) fn end(&self, events: f64) -> (String, Usage) {
        let cpu = cpu_seconds(self.id).unwrap_or(self.cpu) - self.cpu;
        let usage = Usage {
            idle: self.idle,
            peak: peak(self.id).unwrap_or(0),
            cpu_per_million: cpu / events.max(1.0) * 1e6,
            ready_ms: self.ready.as_secs_f64() * 1e3,
        };
        (self.name.to_owned(), usage)
    }
}

/// User and system time so far; the kernel counts hundredths of a second.
fn cpu_seconds(id: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(PathBuf::from("/proc").join(id.to_string()).join("stat")).ok()?;
    // The name in parentheses may have blanks in it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}

fn peak(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(PathBuf::from("/proc").join(id.to_string()).join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .ok()
        .map(|kilobytes| kilobytes * 1024)
}
