//! Results as JSON, with all that is needed to judge and repeat them.

use std::path::{Path, PathBuf};
use std::process::Command;

use openconnect_testkit::Result;
use serde::{Deserialize, Serialize};

use crate::limits::Limits;
use crate::run::{Sample, Setup};
use crate::stats::{Ratio, median, ratio};
use xtask::cargo::workspace;

/// All that one command measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) subject: String,
    pub(crate) command: String,
    pub(crate) machine: Machine,
    pub(crate) limits: Option<Limits>,
    /// Bytes of the stripped binaries, each built alone; only of `size`.
    pub(crate) binaries: Vec<(String, u64)>,
    pub(crate) series: Vec<Series>,
}

/// Where it was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    pub(crate) commit: String,
    pub(crate) date: String,
}

/// Runs that differ in one thing.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Series {
    /// What differs: `payload`, `batch`, `keys`, …
    pub(crate) name: String,
    pub(crate) points: Vec<Point>,
}

/// The runs of one setup.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) label: String,
    pub(crate) setup: Setup,
    pub(crate) samples: Vec<Sample>,
}

impl Point {
    /// Events a second of each run.
    pub(crate) fn rates(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| sample.events_per_second).collect()
    }

    /// The middle one.
    pub(crate) fn rate(&self) -> f64 {
        median(&self.rates())
    }

    /// The most memory that a process had in any run, in MiB.
    pub(crate) fn peak_mib(&self, process: &str) -> Option<f64> {
        let peaks = self
            .samples
            .iter()
            .filter_map(|sample| sample.processes.get(process))
            .map(|usage| usage.peak);
        peaks.max().map(|bytes| bytes as f64 / 1_048_576.0)
    }

    /// The middle of a figure of a process.
    pub(crate) fn figure(&self, process: &str, figure: impl Fn(&crate::usage::Usage) -> Option<f64>) -> Option<f64> {
        let all: Vec<f64> = self
            .samples
            .iter()
            .filter_map(|sample| figure(sample.processes.get(process)?))
            .collect();
        (!all.is_empty()).then(|| median(&all))
    }
}

impl Series {
    /// How many times as fast the first point is as the second; of no meaning where the load was offered.
    pub(crate) fn ratio(&self) -> Option<Ratio> {
        match self.points.as_slice() {
            [first, second] if first.setup.offered.is_none() => Some(ratio(&first.rates(), &second.rates())),
            _ => None,
        }
    }
}

impl Machine {
    pub(crate) fn this() -> Result<Self> {
        let line = |file: &str, name: &str| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
            line.map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let memory = line("/proc/meminfo", "MemTotal");
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: line("/proc/cpuinfo", "model name"),
            memory_gib: memory.trim_end_matches(" kB").parse::<u64>().unwrap_or(0) >> 20,
            kernel: said("uname", &["-sr"])?,
            rustc: said("rustc", &["--version"])?,
            commit: said("git", &["describe", "--always", "--dirty"])?,
            date: said("date", &["-u", "+%F"])?,
        })
    }
}

fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).current_dir(workspace()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Where the results are that the page is made of.
pub(crate) fn folder() -> PathBuf {
    workspace().join("docs/benchmarks")
}

impl Report {
    pub(crate) fn save(&self) -> Result<PathBuf> {
        std::fs::create_dir_all(folder())?;
        let file = folder().join(format!("{}.json", self.subject));
        std::fs::write(&file, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(file)
    }

    pub(crate) fn read(file: &Path) -> Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(file)?).map_err(|e| format!("{}: {e}", file.display()))?)
    }
}
