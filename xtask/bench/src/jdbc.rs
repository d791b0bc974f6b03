//! The SQL sink: out of a mesh that is full into an SQLite file.

use openconnect_sql_fixtures::table;
use openconnect_testkit::Result;
use openconnect_testkit::connector::Connector;
use openconnect_testkit::kit::Kit;
use serde_json::json;

use crate::mesh::filled;
use crate::run::{Sample, Setup, sample};
use crate::usage::Watched;

/// Events that are kept ready for each second: more than SQLite takes, at most 300 MB.
fn stock(setup: &Setup) -> u64 {
    (300_000_000 / (setup.bytes as u64 + 200)).min(200_000)
}

/// Counted: rows that another connection sees.
pub(crate) async fn sink(setup: &Setup) -> Result<Sample> {
    let kit = Kit::quiet(&setup.binaries)?;
    let events = (setup.warm_up + setup.counted).as_secs() * stock(setup);
    let mesh = filled(&kit, setup, events).await?;
    let file = kit.file("rows.db");
    table::execute(&file, "create table rows (id integer primary key, text text not null)").await?;
    let settings = json!({
        "mesh": { "url": mesh.url(), "topic": "bench" },
        "sink": {
            "url": format!("sqlite://{}", file.display()), "table": "rows", "key": ["id"],
            "columns": { "id": "id", "text": "data.text" },
        },
        "delivery": { "batch": { "max_events": setup.batch }, "acknowledge": setup.acknowledge },
    });
    let mut sink = Connector::start(&kit, "openconnect-jdbc-sink", "out", settings).await?;
    let ready = sink.ready_after;
    let mut watched = [
        Watched::busy("jdbc-sink", sink.process()?, ready),
        Watched::busy("mesh", &mesh.process, mesh.ready_after),
    ];
    let rows = async || {
        Ok(u64::try_from(
            table::number(&file, "select coalesce(max(id) + 1, 0) from rows").await?,
        )?)
    };
    let sample = sample(setup, &mut watched, rows).await?;
    let held = u64::try_from(table::number(&file, "select count(*) from rows").await?)?;
    if held >= events {
        return Err(format!("all {events} events were written before the end: the figure would be too low").into());
    }
    Ok(sample)
}
