//! What the steps of `cargo xtask test` have shown: tests that passed and failed, what was skipped, which steps failed.

use std::process::ExitCode;
use std::time::Instant;

/// The sums of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: usize,
    failed: usize,
    /// Names of failed tests.
    failures: Vec<String>,
    /// What was skipped, and why.
    skipped: Vec<String>,
    failed_steps: Vec<String>,
    /// Inside the part of libtest's output that repeats what passing tests printed.
    in_successes: bool,
}

impl Report {
    /// Runs a step; a failure is kept for the end.
    pub(crate) fn step(&mut self, name: &str, run: impl FnOnce(&mut Self) -> bool) {
        println!("== {name}");
        let started = Instant::now();
        let passed = run(self);
        let how = if passed { "passed" } else { "FAILED" };
        println!("== {name}: {how} in {:.0} s", started.elapsed().as_secs_f64());
        if !passed {
            self.failed_steps.push(name.to_owned());
        }
    }

    /// Reads a line of a step's output; whether a person wants to see it.
    pub(crate) fn read(&mut self, line: &str) -> bool {
        if let Some(what) = line.trim_start().strip_prefix("skipped: ") {
            self.skipped(what);
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            self.passed += count(result, "passed");
            self.failed += count(result, "failed");
        }
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        }
        match line {
            "successes:" => self.in_successes = true,
            "failures:" => self.in_successes = false,
            _ if line.starts_with("test result: ") => self.in_successes = false,
            _ => {}
        }
        !self.in_successes
    }

    /// Notes what was skipped, once.
    pub(crate) fn skipped(&mut self, what: &str) {
        if !self.skipped.iter().any(|known| known == what) {
            self.skipped.push(what.to_owned());
        }
    }

    /// Prints the sums; the exit code says whether every step passed.
    pub(crate) fn end(&self) -> ExitCode {
        print!("{}", self.summary());
        if self.failed_steps.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn summary(&self) -> String {
        let mut lines = Vec::new();
        if !self.skipped.is_empty() {
            lines.push(format!("== skipped: {}", self.skipped.len()));
            lines.extend(self.skipped.iter().map(|what| format!("  {what}")));
        }
        if !self.failures.is_empty() {
            lines.push("== failed tests; one again: cargo test --workspace <name>".to_owned());
            lines.extend(self.failures.iter().map(|name| format!("  {name}")));
        }
        if !self.failed_steps.is_empty() {
            lines.push(format!("== failed steps: {}", self.failed_steps.join(", ")));
            lines.push("   look for `FAILED` above; one again: cargo xtask test --step <step>".to_owned());
        }
        lines.push(format!("{} passed, {} failed", self.passed, self.failed));
        lines.push(String::new());
        lines.join("\n")
    }
}

/// The number before a word: `12 passed; 0 failed`.
fn count(result: &str, what: &str) -> usize {
    let words: Vec<&str> = result.split_whitespace().collect();
    let at = words.iter().position(|word| word.trim_end_matches(';') == what);
    let number = at.and_then(|at| words.get(at.checked_sub(1)?));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output of `cargo test -- --show-output`, of two test programs.
    const OUTPUT: &str = "running 3 tests
test works ... ok
test asks_a_server ... ok
test breaks ... FAILED

successes:

---- asks_a_server stdout ----
skipped: postgres: no server can be started
noise

successes:
    asks_a_server
    works

failures:

---- breaks stdout ----
assertion failed

failures:
    breaks

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

running 1 test
test other ... ok

successes:

---- other stdout ----
skipped: postgres: no server can be started

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn the_end_says_what_failed_and_what_was_skipped() {
        let mut report = Report::default();
        let shown: Vec<&str> = OUTPUT.lines().filter(|line| report.read(line)).collect();
        assert!(!shown.contains(&"noise") && shown.contains(&"assertion failed"), "{shown:?}");
        let summary = report.summary();
        for expected in [
            "skipped: 1\n  postgres: no server can be started",
            "  breaks\n",
            "3 passed, 1 failed",
        ] {
            assert!(summary.contains(expected), "{expected} in {summary}");
        }
    }
}
