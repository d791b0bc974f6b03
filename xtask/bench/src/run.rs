//! One measured run: what it is to be, and what came out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use openconnect_testkit::Result;
use serde::{Deserialize, Serialize};

use crate::recording::record;
use crate::usage::{Usage, Watched};

/// What a run is to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// Folder of the binaries.
    #[serde(skip)]
    pub(crate) binaries: PathBuf,
    /// Bytes of an event's data.
    pub(crate) bytes: usize,
    /// Events a request or a write.
    pub(crate) batch: usize,
    /// Different keys; 0: events have none.
    pub(crate) keys: usize,
    /// Events a second that are offered; none: as many as go.
    pub(crate) offered: Option<f64>,
    /// Whose acknowledgement the sink waits for: `write` or `inbox`.
    pub(crate) acknowledge: String,
    /// Not counted at the beginning.
    pub(crate) warm_up: Duration,
    /// Counted.
    pub(crate) counted: Duration,
    /// Where to write what is seen of the processes while it is counted.
    #[serde(skip)]
    pub(crate) recording: Option<PathBuf>,
}

impl Setup {
    /// 512 bytes, batches of 100, no keys, as many as go, 2 s and 8 s.
    pub(crate) fn new(binaries: PathBuf) -> Self {
        Self {
            binaries,
            bytes: 512,
            batch: 100,
            keys: 0,
            offered: None,
            acknowledge: "write".to_owned(),
            warm_up: Duration::from_secs(2),
            counted: Duration::from_secs(8),
            recording: None,
        }
    }

    /// Begins to record, where that is wanted.
    fn record(&self) -> Result<Option<Child>> {
        let recording = self.recording.as_ref().map(|to| record(to, self.counted));
        recording.transpose()
    }

    /// The data of each event: JSON of the wanted size.
    pub(crate) fn data(&self) -> String {
        format!(r#"{{"text":"{}"}}"#, "x".repeat(self.bytes.saturating_sub(11)))
    }

    /// The key of an event; none without keys.
    pub(crate) fn key(&self, number: u64) -> Option<String> {
        (self.keys > 0).then(|| format!("k{}", number % self.keys as u64))
    }
}

/// How long events took, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Counted at the target, never by the program's own metric.
    pub(crate) events_per_second: f64,
    pub(crate) latency: Option<Latency>,
    /// By process.
    pub(crate) processes: BTreeMap<String, Usage>,
}

/// Lets the warm-up pass, then counts: `count` only grows.
pub(crate) async fn sample(setup: &Setup, processes: &mut [Watched], mut count: impl AsyncFnMut() -> Result<u64>) -> Result<Sample> {
    tokio::time::sleep(setup.warm_up).await;
    let recording = setup.record()?;
    let (first, started) = (count().await?, Instant::now());
    processes.iter_mut().for_each(Watched::begin);
    tokio::time::sleep(setup.counted).await;
    let sample = Sample::of(processes, count().await?.saturating_sub(first), started.elapsed());
    finish(recording)?;
    Ok(sample)
}

fn finish(recording: Option<Child>) -> Result<()> {
    match recording.map(|mut perf| perf.wait()).transpose()? {
        Some(ended) if !ended.success() => Err("perf could not record; root may, or whoever kernel.perf_event_paranoid lets".into()),
        _ => Ok(()),
    }
}

/// As [`sample`], of events of which there are only so many: the counting ends with them. For a `count` that costs nothing.
pub(crate) async fn sample_of(setup: &Setup, processes: &mut [Watched], stock: u64, count: impl Fn() -> u64) -> Result<Sample> {
    tokio::time::sleep(setup.warm_up).await;
    let recording = setup.record()?;
    let (first, started) = (count(), Instant::now());
    processes.iter_mut().for_each(Watched::begin);
    while count() < stock && started.elapsed() < setup.counted {
        tokio::time::sleep(LOOK).await;
    }
    let took = started.elapsed();
    if took < LOOK * 20 {
        return Err(format!("there were only {stock} events: too few to measure").into());
    }
    let sample = Sample::of(processes, count().saturating_sub(first), took);
    finish(recording)?;
    Ok(sample)
}

/// How far the end of a [`sample_of`] may be missed.
const LOOK: Duration = Duration::from_millis(20);

impl Sample {
    fn of(processes: &[Watched], events: u64, took: Duration) -> Self {
        let events = events as f64;
        Self {
            events_per_second: events / took.as_secs_f64(),
            latency: None,
            processes: processes.iter().map(|process| process.end(events)).collect(),
        }
    }
}

/// Events that are due at fixed times, whatever became of those before: a target that stalls makes all that were due
/// meanwhile late.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start: Instant,
    each: f64,
}

impl Schedule {
    pub(crate) fn new(per_second: f64) -> Self {
        Self {
            start: Instant::now(),
            each: 1.0 / per_second,
        }
    }

    /// The same, later by a part of the time between two events.
    pub(crate) fn shifted(self, part: f64) -> Self {
        Self {
            start: self.start + Duration::from_secs_f64(self.each * part),
            ..self
        }
    }

    /// When the event of this number is due.
    pub(crate) fn due(&self, number: u64) -> Instant {
        self.start + Duration::from_secs_f64(self.each * number as f64)
    }
}

/// Times since events were due.
pub(crate) struct Times {
    histogram: Histogram<u64>,
    from: Instant,
}

impl Times {
    /// Those before `from` are dropped.
    pub(crate) fn new(from: Instant) -> Result<Self> {
        Ok(Self {
            histogram: Histogram::new_with_bounds(1, 60_000_000, 3)?,
            from,
        })
    }

    pub(crate) fn record(&mut self, due: Instant) {
        if due >= self.from {
            let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.histogram.saturating_record(micros.max(1));
        }
    }

    pub(crate) fn latency(&self) -> Latency {
        let at = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1e3;
        Latency {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
        }
    }
}
