//! `cargo xtask build <connector>…`: release binaries of these alone.

use xtask::Result;

use xtask::{binaries, connectors};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Connectors, as `cargo xtask list` names them.
    #[arg(required = true)]
    connectors: Vec<String>,
}

/// Each alone: built together they would have each other's features.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    for connector in connectors::named(&arguments.connectors)? {
        let folder = binaries::build_release(std::slice::from_ref(&connector.package))?;
        let binary = folder.join(&connector.package);
        let bytes = std::fs::metadata(&binary)?.len();
        println!("{} ({:.2} MB)", binary.display(), bytes as f64 / 1e6);
    }
    Ok(())
}
