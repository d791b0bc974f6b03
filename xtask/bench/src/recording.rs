//! Recording with perf, beside what is being measured.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use openconnect_testkit::Result;

/// Samples a second of each core; no round number, so that it keeps step with nothing.
const FREQUENCY: &str = "499";

/// Records all of the machine for so long.
pub(crate) fn record(to: &Path, time: Duration) -> Result<Child> {
    let mut perf = Command::new("perf");
    perf.args(["record", "--all-cpus", "--call-graph", "fp", "--freq", FREQUENCY, "--output"])
        .arg(to);
    perf.args(["--", "sleep", &time.as_secs().to_string()]);
    let started = perf.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    started.map_err(|e| format!("perf can't be run: {e}. Debian has it in the package linux-perf").into())
}
