#![allow(clippy::unwrap_used)]

use cloudevents::{AttributesReader, EventBuilder, EventBuilderV10};
use openconnect_protocol::payload;

use super::*;
use crate::failure::FailureKind;

const DATA: &str = r#"{ "n": 18446744073709551617, "d": 0.1000000000000000055, "action": "opened" }"#;

fn event() -> Event {
    EventBuilderV10::new()
        .id("1")
        .source("/s")
        .ty("t")
        .subject("sub")
        .extension("partitionkey", "p")
        .data("application/json", DATA.to_owned())
        .build()
        .unwrap()
}

fn steps(yaml: serde_json::Value) -> Result<Transforms> {
    Transforms::compile(&serde_json::from_value::<Vec<TransformConfig>>(yaml).unwrap())
}

fn kept(yaml: serde_json::Value) -> Event {
    match steps(yaml).unwrap().apply(event()) {
        Ok(Transformed::Keep(event)) => event,
        other => panic!("{other:?}"),
    }
}

fn text(event: &Event) -> String {
    payload::json(event).unwrap().into_owned()
}

#[test]
fn a_filter_keeps_or_drops_and_changes_nothing() {
    for (program, passes) in [
        (".data.action == \"opened\"", true),
        (".type == \"other\"", false),
        (".data.none", false),
        ("empty", false),
        ("select(.subject)", true),
    ] {
        let transforms = steps(serde_json::json!([{ "filter": program }])).unwrap();
        match transforms.apply(event()).unwrap() {
            Transformed::Keep(after) => assert!(passes && after == event(), "{program}"),
            Transformed::Drop => assert!(!passes, "{program}"),
        }
    }
}

#[test]
fn jq_maps_the_event_and_keeps_untouched_data_as_it_was() {
    let same = kept(serde_json::json!([{ "jq": ".type = \"new\" | .extra = 7" }]));
    assert_eq!((same.ty(), text(&same).as_str()), ("new", DATA));
    assert_eq!(same.extension("extra").unwrap().to_string(), "7");
    let changed = kept(serde_json::json!([{ "jq": ".data |= {n, d}" }]));
    assert_eq!(text(&changed), r#"{"n":18446744073709551617,"d":0.1000000000000000055}"#);
    let dropped = steps(serde_json::json!([{ "jq": "select(.data.action == \"closed\")" }])).unwrap();
    assert!(matches!(dropped.apply(event()).unwrap(), Transformed::Drop));
}

#[test]
fn set_rename_and_drop_change_attributes_only() {
    let after = kept(serde_json::json!([
        { "set": { "subject": "{{ data.action }}", "tenant": "{{ subject }}" } },
        { "rename": { "partitionkey": "key", "absent": "other" } },
        { "drop": ["tenant2", "time"] },
    ]));
    assert_eq!((after.subject(), text(&after).as_str()), (Some("opened"), DATA));
    assert_eq!(after.extension("tenant").unwrap().to_string(), "sub");
    assert_eq!(after.extension("key").unwrap().to_string(), "p");
    assert!(after.extension("partitionkey").is_none());
}

#[test]
fn what_is_wrong_is_told_at_the_start() {
    for (step, code) in [
        (serde_json::json!([{ "jq": ".a |" }]), "OC0123"),
        (serde_json::json!([{ "jq": "nonsense(1)" }]), "OC0123"),
        (serde_json::json!([{ "filter": "$ENV.HOME" }]), "OC0123"),
        (serde_json::json!([{ "set": { "Bad-Name": "x" } }]), "OC0124"),
        (serde_json::json!([{ "set": { "subject": "{{ unclosed" } }]), "OC0124"),
        (serde_json::json!([{ "rename": { "id": "x" } }]), "OC0124"),
        (serde_json::json!([{ "drop": ["id"] }]), "OC0124"),
    ] {
        let error = steps(step.clone()).err().unwrap();
        assert_eq!(error.code, code, "{step}");
        assert!(error.message.contains("transforms.0"), "{}", error.message);
    }
}

#[test]
fn a_program_that_fails_is_permanent_and_tells_no_data() {
    for program in [
        ".data.action.x",
        ".data | keys | .[0] | tonumber",
        "., .",
        "1",
        ".id = \"\"",
        "env",
        "halt",
        "error(.data)",
    ] {
        let failed = steps(serde_json::json!([{ "jq": program }])).unwrap().apply(event()).unwrap_err();
        assert_eq!(failed.0, event());
        assert_eq!(
            (failed.1.kind, failed.1.code.as_str()),
            (FailureKind::Permanent, "OC0126"),
            "{program}: {}",
            failed.1
        );
        assert!(!failed.1.message.contains("opened"), "{program}: {}", failed.1);
    }
}

#[test]
fn a_program_that_does_not_end_is_fatal_within_a_bound() {
    let transforms = steps(serde_json::json!([{ "filter": "last(repeat(1))" }])).unwrap();
    let started = std::time::Instant::now();
    for _ in 0..2 {
        let failed = transforms.apply(event()).unwrap_err();
        assert_eq!((failed.1.kind, failed.1.code.as_str()), (FailureKind::Fatal, "OC0125"));
    }
    assert!(started.elapsed() < super::jq::LIMIT * 2);
}
