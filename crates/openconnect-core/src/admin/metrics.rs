//! The core's metrics in Prometheus' text format, rendered from the counters when they are asked for.
//!
//! | metric | what |
//! |---|---|
//! | `openconnect_up` | 1 when the connector is ready |
//! | `openconnect_events_total{outcome}` | events by outcome: `received`, `delivered`, `filtered`, `dead_lettered`, `failed` |
//! | `openconnect_retries_total` | events that are tried again, counted each time |
//! | `openconnect_backlog` | events accepted and not yet resolved |
//! | `openconnect_spool_events`, `openconnect_spool_oldest_seconds` | a source's spool: events that wait for the mesh, and how long the oldest has |
//! | `openconnect_spool_bytes`, `openconnect_spool_limit_bytes` | its bytes on disk, and how many there may be |
//! | `openconnect_input_events_total{outcome}` | events of a source's input by outcome: as above, `delivered` are answered |
//! | `openconnect_input_retries_total`, `openconnect_input_backlog` | those that were given again; those that are not done |
//! | `openconnect_input_seconds` | histogram: an event of the input from its giving to its end |
//! | `openconnect_write_seconds` | histogram: one write to the target, or one publish until it is acknowledged |
//! | `openconnect_memory_used_bytes`, `openconnect_memory_budget_bytes` | use and size of the byte budget |
//! | `openconnect_guarantee{guarantee}` | 1, the computed guarantee as label |
//! | `openconnect_role{role}` | 1; `active` or `standby` where several processes share a lease |
//! | `openconnect_info{version}` | 1 |
//!
//! All carry `connector` and `name`.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use super::status::{Counts, Flow, StatusHandle, WRITE_BUCKETS_MS, Writes, guarantee_name};

/// Renders the core's metrics.
pub(crate) fn render(status: &StatusHandle, version: &str) -> String {
    let labels = format!("connector=\"{}\",name=\"{}\"", escape(status.connector()), escape(status.name()));
    let mut page = Page {
        text: String::with_capacity(4096),
        labels,
    };
    page.head("openconnect_up", "gauge", "1 when the connector is ready.");
    page.line("openconnect_up", "", u64::from(status.readiness().is_ok()));
    page.head("openconnect_info", "gauge", "Version of the connector.");
    page.line("openconnect_info", &format!("version=\"{}\"", escape(version)), 1);
    page.head("openconnect_events_total", "counter", "Events by outcome since start.");
    write_outcomes(&mut page, "openconnect_events_total", status.counts());
    page.head(
        "openconnect_retries_total",
        "counter",
        "Events that are tried again, counted each time.",
    );
    page.line("openconnect_retries_total", "", status.counts().retried.load(Relaxed));
    page.head("openconnect_backlog", "gauge", "Events accepted and not yet resolved.");
    page.line("openconnect_backlog", "", status.backlog());
    if let Some(input) = status.input() {
        write_input(&mut page, input);
    }
    if let Some(spool) = status.spool() {
        page.head(
            "openconnect_spool_events",
            "gauge",
            "Events in the spool, which the mesh has not confirmed.",
        );
        page.line("openconnect_spool_events", "", spool.events);
        page.head(
            "openconnect_spool_oldest_seconds",
            "gauge",
            "How long the oldest event of the spool has waited.",
        );
        page.line("openconnect_spool_oldest_seconds", "", spool.oldest_age().as_secs_f64());
        page.head(
            "openconnect_spool_bytes",
            "gauge",
            "Bytes of the spool on disk; they are freed by segments.",
        );
        page.line("openconnect_spool_bytes", "", spool.bytes);
        page.head("openconnect_spool_limit_bytes", "gauge", "How many bytes the spool may have.");
        page.line("openconnect_spool_limit_bytes", "", spool.limit);
    }
    let (used, limit) = status.memory();
    page.head("openconnect_memory_used_bytes", "gauge", "Bytes of the budget in use.");
    page.line("openconnect_memory_used_bytes", "", used);
    page.head("openconnect_memory_budget_bytes", "gauge", "Size of the byte budget.");
    page.line("openconnect_memory_budget_bytes", "", limit);
    if let Some(guarantee) = status.guarantee() {
        page.head("openconnect_guarantee", "gauge", "The computed delivery guarantee.");
        page.line("openconnect_guarantee", &format!("guarantee=\"{}\"", guarantee_name(guarantee)), 1);
    }
    if let Some(role) = status.role() {
        page.head("openconnect_role", "gauge", "What this process is among those that share a lease.");
        page.line("openconnect_role", &format!("role=\"{}\"", role.name()), 1);
    }
    page.head(
        "openconnect_write_seconds",
        "histogram",
        "One write to the target, or one publish until it is acknowledged.",
    );
    write_histogram(&mut page, "openconnect_write_seconds", status.writes());
    page.text
}

/// A line for each outcome; a retry is none.
fn write_outcomes(page: &mut Page, metric: &str, counts: &Counts) {
    for (name, count) in counts.list().into_iter().filter(|(name, _)| *name != "retried") {
        page.line(metric, &format!("outcome=\"{name}\""), count);
    }
}

fn write_input(page: &mut Page, input: &Flow) {
    page.head(
        "openconnect_input_events_total",
        "counter",
        "Events of the input by outcome since start.",
    );
    write_outcomes(page, "openconnect_input_events_total", &input.counts);
    page.head(
        "openconnect_input_retries_total",
        "counter",
        "Events of the input that were given again.",
    );
    page.line("openconnect_input_retries_total", "", input.counts.retried.load(Relaxed));
    page.head("openconnect_input_backlog", "gauge", "Events of the input that are not done.");
    page.line("openconnect_input_backlog", "", input.backlog());
    page.head(
        "openconnect_input_seconds",
        "histogram",
        "An event of the input, from its giving to the source until it ends.",
    );
    write_histogram(page, "openconnect_input_seconds", input.writes());
}

fn write_histogram(page: &mut Page, metric: &str, (buckets, count, sum): Writes) {
    let bucket = format!("{metric}_bucket");
    let mut below = 0;
    for (bound, n) in WRITE_BUCKETS_MS.iter().zip(buckets) {
        below += n;
        let seconds = std::time::Duration::from_millis(*bound).as_secs_f64();
        page.line(&bucket, &format!("le=\"{seconds}\""), below);
    }
    // The counters are read one after the other: never show fewer in total than in a bucket.
    let count = count.max(below);
    page.line(&bucket, "le=\"+Inf\"", count);
    page.line(&format!("{metric}_sum"), "", sum);
    page.line(&format!("{metric}_count"), "", count);
}

struct Page {
    text: String,
    labels: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, more: &str, value: impl std::fmt::Display) {
        let comma = if more.is_empty() { "" } else { "," };
        let _ = writeln!(self.text, "{name}{{{}{comma}{more}}} {value}", self.labels);
    }
}

/// Escapes a label's value.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
