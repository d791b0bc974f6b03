//! A dead-letter file of any content: lines that are no event are skipped, the others are listed with all that is asked.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use openconnect_core::config::DeadLetterSettings;
use openconnect_core::dead_letter::archive::letters;

static DIR: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder for files"));

fuzz_target!(|bytes: &[u8]| {
    let file = DIR.path().join("dead-letters.jsonl");
    std::fs::write(&file, bytes).expect("a file can be written");
    let settings: DeadLetterSettings = serde_json::from_value(serde_json::json!({ "file": file })).expect("settings");
    let lines = bytes.split(|byte| *byte == b'\n').count();
    let letters = letters(&settings, DIR.path()).expect("a readable file");
    assert!(letters.len() <= lines);
    for letter in letters {
        for about in ["dlqreason", "dlqcode", "dlqattempts", "dlqtime"] {
            let _ = letter.about(about);
        }
    }
});
