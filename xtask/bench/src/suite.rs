//! What is measured of each subject: the control first, then what differs.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use openconnect_testkit::Result;

use crate::cdc::{self, Side};
use crate::peers::Peer;
use crate::report::{Point, Series};
use crate::run::{Sample, Setup};
use crate::{http, jdbc, mesh, sql};

type Run = fn(&Setup) -> Pin<Box<dyn Future<Output = Result<Sample>> + '_>>;

/// A pipeline, and which of its settings are varied.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    run: Run,
    vary: &'static [Vary],
}

/// Events a second of [`Vary::Steady`].
const STEADY: f64 = 50_000.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vary {
    Payload,
    Batch,
    Keys,
    Acknowledge,
    /// Latency at a half and at a quarter of what went in the control.
    Offered,
    /// Memory at a load that a small machine has.
    Steady,
    /// Ten and a hundred times the events.
    Growth,
}

/// All of them.
pub(crate) const SUBJECTS: &[Subject] = &[
    Subject {
        name: "mesh",
        about: "TCP publish, durable mesh (fsync), subscribe and acknowledge",
        run: |setup| Box::pin(mesh::run(setup)),
        vary: &[Vary::Payload, Vary::Keys, Vary::Offered],
    },
    Subject {
        name: "http-source",
        about: "HTTP requests to durable in the mesh",
        run: |setup| Box::pin(http::source(setup)),
        vary: &[Vary::Payload, Vary::Batch, Vary::Offered],
    },
    Subject {
        name: "http-sink",
        about: "a full mesh to an HTTP endpoint",
        run: |setup| Box::pin(http::sink(setup)),
        vary: &[Vary::Payload, Vary::Batch, Vary::Keys, Vary::Acknowledge],
    },
    Subject {
        name: "http-sink-inbox",
        about: "a full inbox to an HTTP endpoint",
        run: |setup| Box::pin(http::sink_from_inbox(setup)),
        vary: &[Vary::Batch],
    },
    Subject {
        name: "jdbc-sink",
        about: "a full mesh into an SQLite file, one transaction a batch",
        run: |setup| Box::pin(jdbc::sink(setup)),
        vary: &[Vary::Payload, Vary::Batch, Vary::Acknowledge],
    },
    Subject {
        name: "pipeline",
        about: "HTTP source, durable mesh (fsync), HTTP sink",
        run: |setup| Box::pin(http::pipeline(setup)),
        vary: &[Vary::Payload, Vary::Batch, Vary::Steady, Vary::Growth],
    },
];

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Runs of each side of a comparison.
    pub(crate) rounds: usize,
    /// Runs of each point of a series.
    pub(crate) each: usize,
}

impl Subject {
    /// The control, then each series.
    pub(crate) async fn measure(&self, base: &Setup, effort: Effort) -> Result<Vec<Series>> {
        let control = compare(
            "A/A",
            [("A", base.clone(), self.run), ("the same", base.clone(), self.run)],
            effort.rounds,
        )
        .await?;
        let most = control.points[0].rate();
        let mut all = vec![control];
        for vary in self.vary {
            let mut points = Vec::new();
            for (label, setup) in vary.setups(base, most) {
                points.push(self.point(label, setup, effort.each).await?);
            }
            all.push(Series {
                name: vary.name().to_owned(),
                points,
            });
        }
        Ok(all)
    }

    /// One run.
    pub(crate) async fn once(&self, setup: &Setup) -> Result<Sample> {
        (self.run)(setup).await
    }

    async fn point(&self, label: String, setup: Setup, runs: usize) -> Result<Point> {
        let mut samples = Vec::new();
        for _ in 0..runs {
            samples.push((self.run)(&setup).await?);
        }
        let point = Point { label, setup, samples };
        println!("  {:<24}{:>12.0} events/s", point.label, point.rate());
        Ok(point)
    }
}

/// Runs both sides in turn, so that what the machine does meanwhile meets both.
async fn compare(name: &str, sides: [(&str, Setup, Run); 2], rounds: usize) -> Result<Series> {
    let mut points = sides.clone().map(|(label, setup, _)| Point {
        label: label.to_owned(),
        setup,
        samples: Vec::new(),
    });
    for round in 0..rounds {
        // Who is first changes.
        for at in if round.is_multiple_of(2) { [0, 1] } else { [1, 0] } {
            let sample = (sides[at].2)(&sides[at].1).await?;
            println!("  {:<24}{:>12.0} events/s", points[at].label, sample.events_per_second);
            points[at].samples.push(sample);
        }
    }
    let series = Series {
        name: name.to_owned(),
        points: points.into(),
    };
    if let Some(ratio) = series.ratio() {
        println!("  {name}: {ratio}");
    }
    Ok(series)
}

/// The same binaries of two folders.
pub(crate) async fn head_and_base(head: &Setup, base: &Path, rounds: usize) -> Result<Vec<Series>> {
    let other = Setup {
        binaries: base.to_owned(),
        ..head.clone()
    };
    let pairs = [("mesh", head.batch), ("pipeline", head.batch), ("pipeline", 1)];
    let mut all = Vec::new();
    for (name, batch) in pairs {
        let Some(subject) = SUBJECTS.iter().find(|subject| subject.name == name) else {
            continue;
        };
        let [head, other] = [head, &other].map(|setup| Setup { batch, ..setup.clone() });
        let name = format!("{name}, events a request: {batch}");
        println!("{name}");
        let control = [("A", head.clone(), subject.run), ("the same", head.clone(), subject.run)];
        all.push(compare(&format!("{name}, A/A"), control, rounds).await?);
        let sides = [("head", head, subject.run), ("base", other, subject.run)];
        all.push(compare(&format!("{name}, head/base"), sides, rounds).await?);
    }
    Ok(all)
}

/// The SQL connectors, and the driver alone.
pub(crate) async fn sql(base: &Setup, rounds: usize) -> Result<Vec<Series>> {
    let sink: (&str, Setup, Run) = ("jdbc-sink", base.clone(), |setup| Box::pin(sql::sink(setup)));
    let bare = [
        ("bare insert", (|setup| Box::pin(sql::bare_insert(setup))) as Run),
        ("bare COPY", |setup| Box::pin(sql::bare_copy(setup))),
    ];
    let mut all = Vec::new();
    for (name, run) in bare {
        all.push(
            compare(
                &format!("into PostgreSQL, {name}"),
                [sink.clone(), (name, base.clone(), run)],
                rounds,
            )
            .await?,
        );
    }
    let fed: (&str, Setup, Run) = ("jdbc-sink", base.clone(), |setup| Box::pin(sql::fed_sink(setup)));
    for (name, run) in bare {
        let sides = [fed.clone(), (name, base.clone(), run)];
        all.push(compare(&format!("into PostgreSQL from memory, {name}"), sides, rounds).await?);
    }
    let source: (&str, Setup, Run) = ("jdbc-source", base.clone(), |setup| Box::pin(sql::source(setup)));
    let bare: (&str, Setup, Run) = ("bare select", base.clone(), |setup| Box::pin(sql::bare_select(setup)));
    all.push(compare("out of PostgreSQL", [source, bare.clone()], rounds).await?);
    let null: (&str, Setup, Run) = ("jdbc-source", base.clone(), |setup| Box::pin(sql::null_source(setup)));
    all.push(compare("out of PostgreSQL, with nobody behind it", [null, bare], rounds).await?);
    Ok(all)
}

/// The CDC source and Debezium.
pub(crate) async fn cdc(base: &Setup, rounds: usize) -> Result<Vec<Series>> {
    let snapshot: [(&str, Setup, Run); 2] = [
        ("openconnect", base.clone(), |setup| Box::pin(cdc::snapshot(setup, Side::Ours))),
        ("debezium", base.clone(), |setup| Box::pin(cdc::snapshot(setup, Side::Debezium))),
    ];
    let log: [(&str, Setup, Run); 2] = [
        ("openconnect", base.clone(), |setup| Box::pin(cdc::log(setup, Side::Ours))),
        ("debezium", base.clone(), |setup| Box::pin(cdc::log(setup, Side::Debezium))),
    ];
    Ok(vec![
        compare("snapshot", snapshot, rounds).await?,
        compare("log", log, rounds).await?,
    ])
}

/// Ours and each peer, in batches and one event a request.
pub(crate) async fn peers(base: &Setup, rounds: usize) -> Result<Vec<Series>> {
    let mut all = Vec::new();
    let others: [(&str, Run); 2] = [
        (Peer::Benthos.name(), |setup| Box::pin(Peer::Benthos.run(setup))),
        (Peer::Otelcol.name(), |setup| Box::pin(Peer::Otelcol.run(setup))),
    ];
    for (name, run) in others {
        for batch in [100, 1] {
            let setup = Setup { batch, ..base.clone() };
            let sides: [(&str, Setup, Run); 2] = [
                ("openconnect", setup.clone(), |setup| Box::pin(http::pipeline(setup))),
                (name, setup, run),
            ];
            all.push(compare(&format!("{name}, events a request: {batch}"), sides, rounds).await?);
        }
    }
    Ok(all)
}

impl Vary {
    fn name(self) -> &'static str {
        match self {
            Self::Payload => "payload",
            Self::Batch => "batch",
            Self::Keys => "keys",
            Self::Acknowledge => "acknowledge",
            Self::Offered => "offered load",
            Self::Steady => "steady load",
            Self::Growth => "growth",
        }
    }

    fn setups(self, base: &Setup, most: f64) -> Vec<(String, Setup)> {
        let with = |label: String, change: &dyn Fn(&mut Setup)| {
            let mut setup = Setup {
                counted: base.counted / 2,
                ..base.clone()
            };
            change(&mut setup);
            (label, setup)
        };
        let offered = |rate: f64| with(format!("{rate:.0} events/s offered"), &|setup| setup.offered = Some(rate));
        match self {
            Self::Payload => [(100, "100 B"), (512, "512 B"), (10_000, "10 KB"), (1_000_000, "1 MB")]
                .map(|(bytes, label)| {
                    with(label.to_owned(), &|setup| {
                        setup.bytes = bytes;
                        // A request of 1 MB at the most, as the source's default has it.
                        setup.batch = base.batch.min(1_000_000 / (bytes + 200)).max(1);
                    })
                })
                .into(),
            Self::Batch => [1, 10, 100, 500]
                .map(|batch| with(batch.to_string(), &|setup| setup.batch = batch))
                .into(),
            Self::Keys => [0, 10, 1_000, 100_000]
                .map(|keys| with(keys.to_string(), &|setup| setup.keys = keys))
                .into(),
            Self::Acknowledge => ["write", "inbox"]
                .map(|by| with(by.to_owned(), &|setup| by.clone_into(&mut setup.acknowledge)))
                .into(),
            Self::Offered => vec![offered(most / 2.0), offered(most / 4.0)],
            Self::Steady => vec![offered(STEADY)],
            Self::Growth => [1, 10, 100]
                .map(|times| with(format!("{times}x"), &|setup| setup.counted = Duration::from_secs(times)))
                .into(),
        }
    }
}
