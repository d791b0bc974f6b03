//! `cargo xtask list`: what exists.

use serde_json::json;
use xtask::Result;

use xtask::binaries;
use xtask::connectors::{self, Connector};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let all = connectors::named(&[])?;
    if arguments.json {
        let list: Vec<_> = all
            .iter()
            .map(|connector| {
                json!({
                    "name": connector.name, "binary": connector.package, "version": connector.version, "description": connector.description,
                    "guarantee": connector.guarantee, "bytes": size(connector),
                })
            })
            .collect();
        println!("{:#}", json!(list));
        return Ok(());
    }
    let width = all.iter().map(|connector| connector.name.len()).max().unwrap_or(0);
    println!("{:width$}  version  release binary  guarantee", "connector");
    for connector in &all {
        let size = size(connector).map_or_else(|| "not built".to_owned(), |bytes| format!("{:.2} MB", bytes as f64 / 1e6));
        println!(
            "{:width$}  {:7}  {size:>14}  {}",
            connector.name, connector.version, connector.guarantee
        );
    }
    println!("\n`cargo xtask build <connector>` builds one for release, `cargo xtask test <connector>` tests it.");
    Ok(())
}

/// Bytes of its release binary, where there is one.
fn size(connector: &Connector) -> Option<u64> {
    std::fs::metadata(binaries::folder().join(&connector.package))
        .ok()
        .map(|file| file.len())
}
