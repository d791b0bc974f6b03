//! `config plan`: what a change means, before it is made.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::Command;

use openconnect_schema::{Node, Setting, settings};
use openconnect_testkit::binary;
use serde_json::{Map, Value, json};

/// What the program prints; the reason when it refuses.
fn ask(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(binary::path(program).unwrap()).args(arguments).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn try_plan(program: &str, format: &str, old: &Value, new: &Value) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let files = [("old.yaml", old), ("new.yaml", new)].map(|(name, config)| {
        let file = folder.path().join(name);
        std::fs::write(&file, config.to_string()).unwrap();
        file.to_str().unwrap().to_owned()
    });
    ask(program, &["--output", format, "config", "plan", &files[0], &files[1]])
}

fn plan(program: &str, old: &Value, new: &Value) -> (String, Value) {
    let [text, json] = ["text", "json"].map(|format| try_plan(program, format, old, new).unwrap());
    (text, serde_json::from_str(&json).unwrap())
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
    assert_eq!(settings, ["mesh.group", "mesh.password", "sink.key"]);
    assert!(text.contains("mesh.password: another secret"), "{text}");
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

#[test]
fn another_database_of_offsets_is_told_though_its_url_is_a_secret() {
    let old = json!({
        "name": "in", "mesh": { "url": "tcp://127.0.0.1:10000", "topic": "orders" },
        "source": { "listen": "127.0.0.1:8080" },
        "state": { "offsets": "postgres://u:c4n4ry@old/state" },
    });
    let mut new = old.clone();
    new["state"]["offsets"] = json!("postgres://u:c4n4ry@new/state");
    let (text, told) = plan("openconnect-http-source", &old, &new);
    assert_eq!(told["changes"].as_array().map(Vec::len), Some(1), "{text}");
    assert!(text.contains("NOT MOVED") && !text.contains("c4n4ry"), "{text}");
}

#[test]
fn each_setting_of_each_program_says_what_a_change_of_it_does() {
    let connectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../connectors");
    for folder in std::fs::read_dir(connectors).unwrap() {
        let name = folder.unwrap().file_name().into_string().unwrap();
        each_setting(&format!("openconnect-{name}"));
    }
}

/// Changes each setting of the program's example that it lets be changed alone.
fn each_setting(program: &str) {
    let folder = tempfile::tempdir().unwrap();
    let example = folder.path().join("example.yaml");
    std::fs::write(&example, ask(program, &["config", "example"]).unwrap()).unwrap();
    let shown = ask(
        program,
        &["--output", "json", "config", "show", "--config", example.to_str().unwrap()],
    );
    let base: Value = serde_json::from_str(&shown.unwrap()).unwrap();
    let schema: Value = serde_json::from_str(&ask(program, &["config", "schema"]).unwrap()).unwrap();
    let (mut changed, mut unchanged) = (0, Vec::new());
    let all = settings(&schema);
    for setting in all.iter().filter(|setting| !setting.node.is_section()) {
        let effect = setting
            .effect()
            .unwrap_or_else(|| panic!("{program}: {} says nothing", setting.path));
        // What is in a list or a map is a part of the setting's value.
        if setting.path.contains(['[', '<']) {
            continue;
        }
        let planned = values(&setting.node)
            .into_iter()
            .find_map(|value| change(program, &base, setting, value));
        let Some(planned) = planned else {
            unchanged.push(&setting.path);
            continue;
        };
        let told = planned["changes"].as_array().unwrap();
        let fine = told
            .iter()
            .any(|change| change["setting"].as_str().unwrap().starts_with(&setting.path) && change["effect"] == effect);
        assert!(fine, "{program}: {}: {planned:#}", setting.path);
        changed += 1;
    }
    // The others go only with another one: the parts of `auth`, a certificate with its key.
    assert!(
        changed > 3 * unchanged.len(),
        "{program}: {changed} settings were changed, not {unchanged:?}"
    );
}

/// The plan of one setting with this value; none where the program does not take it, or the setting has it already.
fn change(program: &str, base: &Value, setting: &Setting<'_>, value: Value) -> Option<Value> {
    let mut new = base.clone();
    let mut at = &mut new;
    for key in setting.path.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = at.as_object_mut()?.entry(key).or_insert(Value::Null);
    }
    if *at == value {
        return None;
    }
    *at = value;
    try_plan(program, "json", base, &new)
        .ok()
        .map(|told| serde_json::from_str(&told).unwrap())
}

/// Values that the setting may take.
fn values(node: &Node<'_>) -> Vec<Value> {
    let shapes = node.shapes();
    let named = shapes.iter().flat_map(Node::constants).cloned();
    let given = node.example().into_iter().chain(node.default()).cloned();
    let plain = [
        json!(true),
        json!(false),
        json!(7),
        json!(202),
        json!("7s"),
        json!("7MiB"),
        json!("other"),
    ];
    let made = [
        json!(["a.b"]),
        json!(["POST", "PUT"]),
        json!({ "a": "b" }),
        json!({}),
        json!({ "type": "none" }),
    ];
    named.chain(given).chain(plain).chain(made).collect()
}
