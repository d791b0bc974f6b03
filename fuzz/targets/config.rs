//! A configuration file of any content: it is taken, or rejected with at least one mistake; nothing else.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use openconnect_core::config::{ConnectorConfig, Section, Sources, load};
use openconnect_core::secret::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// A connector's section.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Section1 {
    /// Where to.
    url: String,
    /// A password.
    password: Option<Secret>,
    /// Names.
    #[serde(default)]
    names: Vec<String>,
}

impl ConnectorConfig for Section1 {}

static DIR: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder for files"));

fuzz_target!(|input: &[u8]| {
    let Some((kind, text)) = input.split_first() else { return };
    // A file of the machine is none of the input's business.
    if text.windows(7).any(|bytes| bytes == b"${file:") {
        return;
    }
    let file: PathBuf = DIR.path().join(if kind % 2 == 1 { "config.toml" } else { "config.yaml" });
    std::fs::write(&file, text).expect("a file can be written");
    let sources = Sources {
        file: Some(file),
        environment: [("A".to_owned(), "1".to_owned())].into(),
        set: Vec::new(),
    };
    if let Err(rejected) = load::<Section1>(&sources, Section::Sink) {
        assert!(!rejected.problems.is_empty());
        assert!(!rejected.to_string().is_empty());
    }
});
