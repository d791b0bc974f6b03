//! `docs/benchmarks.md` and its pictures, from the results in `docs/benchmarks`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use openconnect_testkit::Result;

use crate::plot::bars;
use crate::report::{Point, Report, Series, folder};
use crate::suite::SUBJECTS;
use xtask::cargo::workspace;

const LEAD: &str = "# Benchmarks

Made by `cargo xtask bench page` from the results in `docs/benchmarks`, which `cargo xtask bench <subject>` writes.

How it is measured: events are counted at the target, never by a program's own metric. The first seconds are dropped. The load
of a pipeline waits while its target is more than 20,000 events (10 MiB) behind: what counts is a rate that all of it can go on with. The load,
the mesh, the connectors and the target share the cores of one machine, and the mesh answers after fsync. *A/A* is the same
against the same, run in turn: how far its interval is from 1 is the noise of the machine, and a difference that is not larger
says nothing. Intervals are 95 of 100 redraws of the runs. Processor time is user and system time of the process.
";

pub(crate) fn write() -> Result<()> {
    let mut page = LEAD.to_owned();
    let names = SUBJECTS.iter().map(|subject| subject.name).chain(["sql", "cdc", "peers", "size"]);
    for name in names {
        let file = folder().join(format!("{name}.json"));
        if file.exists() {
            let report = Report::read(&file)?;
            section(&mut page, &report)?;
        }
    }
    std::fs::write(workspace().join("docs/benchmarks.md"), page)?;
    Ok(())
}

fn section(page: &mut String, report: &Report) -> Result<()> {
    let about = SUBJECTS.iter().find(|subject| subject.name == report.subject);
    let about = match (about, report.subject.as_str()) {
        (Some(subject), _) => subject.about,
        (None, "sql") => "the SQL connectors with PostgreSQL on the same cores, beside what its driver alone does with the same rows",
        (None, "cdc") => "a snapshot and the binary log of MySQL, with nobody behind the source, beside Debezium embedded",
        (None, "size") => "stripped release binaries, each built alone",
        (None, _) => {
            "HTTP in, HTTP out. Ours has a durable mesh in between. Benthos, the engine of Redpanda Connect, keeps nothing: what it \
             has under way when it is killed is gone. The OpenTelemetry Collector has a queue on the disk that is synced, which is \
             the mesh's guarantee; its events are log records in its own protocol"
        }
    };
    let machine = &report.machine;
    writeln!(page, "\n## {}\n\n{about}.\n\n```console\n{}\n```\n", report.subject, report.command)?;
    writeln!(
        page,
        "{} cores of {}, {} GiB, {}; {}; commit {}, {}.",
        machine.cores, machine.processor, machine.memory_gib, machine.kernel, machine.rustc, machine.commit, machine.date
    )?;
    if let Some(limits) = report.limits {
        let tail = limits.append_p99_ms.map_or(String::new(), |p99| format!(" (p99 {p99:.1} ms)"));
        write!(
            page,
            "In the same run: a bare append of 256 KiB with fsync {:.0} MB/s{tail}, a bare copy over TCP {:.0} MB/s",
            limits.append / 1e6,
            limits.copy / 1e6
        )?;
        if let Some(requests) = limits.requests {
            write!(page, ", a bare HTTP server {requests:.0} requests/s of one event")?;
        }
        writeln!(page, ".")?;
    }
    for series in &report.series {
        table(page, series)?;
        if series.points.len() > 2 {
            picture(page, report, series)?;
        }
    }
    if !report.binaries.is_empty() {
        let sizes: Vec<String> = report
            .binaries
            .iter()
            .map(|(name, size)| format!("`{name}` {:.1} MB", *size as f64 / 1e6))
            .collect();
        writeln!(page, "\n{}.", sizes.join(", "))?;
    }
    Ok(())
}

fn table(page: &mut String, series: &Series) -> Result<()> {
    write!(page, "\n### {}", series.name)?;
    if let Some(ratio) = series.ratio() {
        write!(page, ": {ratio}")?;
    }
    writeln!(
        page,
        "\n\n| {} | events/s | process | peak MiB | idle MiB | s of processor a million | ready ms |",
        series.name
    )?;
    writeln!(page, "|---|--:|---|--:|--:|--:|--:|")?;
    for point in &series.points {
        rows(page, point)?;
    }
    for point in &series.points {
        if let Some(latency) = point.samples.iter().find_map(|sample| sample.latency) {
            writeln!(
                page,
                "\nLatency at {}: p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, open loop.",
                point.label, latency.p50, latency.p99, latency.p999
            )?;
        }
    }
    Ok(())
}

fn rows(page: &mut String, point: &Point) -> Result<()> {
    let names: BTreeSet<&String> = point.samples.iter().flat_map(|sample| sample.processes.keys()).collect();
    let mut lead = format!("| {} | {:.0} |", point.label, point.rate());
    for name in names {
        let shown = |figure: Option<f64>| figure.map_or("–".to_owned(), |figure| format!("{figure:.1}"));
        writeln!(
            page,
            "{lead} {name} | {} | {} | {} | {} |",
            shown(point.peak_mib(name)),
            shown(point.figure(name, |usage| usage.idle.map(|bytes| bytes as f64 / 1_048_576.0))),
            shown(point.figure(name, |usage| Some(usage.cpu_per_million))),
            shown(point.figure(name, |usage| Some(usage.ready_ms))),
        )?;
        lead = "| | |".to_owned();
    }
    // Where no program of ours ran beside the one that measures.
    if point.samples.iter().all(|sample| sample.processes.is_empty()) {
        writeln!(page, "{lead} – | – | – | – | – |")?;
    }
    Ok(())
}

fn picture(page: &mut String, report: &Report, series: &Series) -> Result<()> {
    let slug = format!("{}-{}", report.subject, series.name.replace(' ', "-"));
    let speed: Vec<(String, f64, String)> = series
        .points
        .iter()
        .map(|point| (point.label.clone(), point.rate(), format!("{:.0}", point.rate())))
        .collect();
    save(
        page,
        &slug,
        &bars(&format!("{}, by {}: events a second", report.subject, series.name), &speed),
    )?;
    if series.name == "growth" {
        let memory: Vec<(String, f64, String)> = series.points.iter().flat_map(memory).collect();
        save(
            page,
            &format!("{slug}-memory"),
            &bars("most memory, MiB, as the events grow", &memory),
        )?;
    }
    Ok(())
}

fn memory(point: &Point) -> Vec<(String, f64, String)> {
    let names: BTreeSet<&String> = point.samples.iter().flat_map(|sample| sample.processes.keys()).collect();
    let bar = |name: &String| {
        let mib = point.peak_mib(name)?;
        Some((format!("{} {name}", point.label), mib, format!("{mib:.1}")))
    };
    names.into_iter().filter_map(bar).collect()
}

fn save(page: &mut String, slug: &str, svg: &str) -> Result<()> {
    let file = folder().join(format!("{slug}.svg"));
    write_to(&file, svg)?;
    writeln!(page, "\n![{slug}](benchmarks/{slug}.svg)")?;
    Ok(())
}

fn write_to(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).map_err(|e| format!("{}: {e}", file.display()).into())
}
