//! `config plan`: what a change means, before it is made.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::Command;

use openconnect_testkit::binary;
use serde_json::{Value, json};

fn plan(binary_name: &str, old: &Value, new: &Value) -> (String, Value) {
    let folder = tempfile::tempdir().unwrap();
    let files = [("old.yaml", old), ("new.yaml", new)].map(|(name, config)| {
        let file = folder.path().join(name);
        std::fs::write(&file, config.to_string()).unwrap();
        file
    });
    let run = |format: &str| {
        let mut command = Command::new(binary::path(binary_name).unwrap());
        let output = command.args(["--output", format, "config", "plan"]).args(&files).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    (run("text"), serde_json::from_str(&run("json")).unwrap())
}

#[test]
fn a_new_group_a_secret_and_a_weaker_guarantee_are_told() {
    let old = json!({
        "name": "out", "mesh": { "url": "tcp://127.0.0.1:10000", "topic": "orders", "password": "c4n4ry-old" },
        "sink": { "url": "postgres://127.0.0.1/shop", "table": "orders", "key": ["id"] },
    });
    let mut new = old.clone();
    new["mesh"]["group"] = json!("other");
    new["mesh"]["password"] = json!("c4n4ry-new");
    new["sink"].as_object_mut().unwrap().remove("key");
    let (text, told) = plan("openconnect-jdbc-sink", &old, &new);
    assert!(!text.contains("c4n4ry"), "{text}");
    let settings: Vec<&str> = told["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["setting"].as_str().unwrap())
        .collect();
    assert_eq!(settings, ["mesh.group", "sink.key"]);
    assert!(
        text.contains("another consumer group") && text.contains("may be written twice"),
        "{text}"
    );
    assert_eq!(told["guarantee"], json!({ "before": "effectively-once", "after": "at-least-once" }));
}

#[test]
fn a_source_that_would_read_again_says_so() {
    let old = json!({
        "name": "in", "mesh": { "url": "tcp://127.0.0.1:10000", "topic": "orders" },
        "source": { "url": "postgres://127.0.0.1/shop", "tables": ["orders"], "mode": "incrementing", "incrementing": "id" },
    });
    let mut new = old.clone();
    new["source"]["mode"] = json!("timestamp");
    new["source"]["timestamp"] = json!("changed");
    new["source"].as_object_mut().unwrap().remove("incrementing");
    new["state"] = json!({ "dir": "/elsewhere" });
    let (text, _) = plan("openconnect-jdbc-source", &old, &new);
    assert!(
        text.contains("offsets reset") && text.contains("NOT MOVED") && text.contains("at-least-once, as before"),
        "{text}"
    );
    let (text, _) = plan("openconnect-jdbc-source", &old, &old);
    assert!(text.starts_with("nothing changes"), "{text}");
}
