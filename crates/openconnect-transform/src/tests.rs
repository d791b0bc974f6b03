#![allow(clippy::unwrap_used)]

use std::convert::Infallible;

use cloudevents::{AttributesReader, EventBuilder, EventBuilderV10};
use openconnect_protocol::payload;

use super::*;
use openconnect_error::FailureKind;

const DATA: &str = r#"{ "n": 18446744073709551617, "d": 0.1000000000000000055, "action": "opened" }"#;

fn event() -> Arc<Event> {
    let event = EventBuilderV10::new()
        .id("1")
        .source("/s")
        .ty("t")
        .subject("sub")
        .extension("partitionkey", "p")
        .data("application/json", DATA.to_owned())
        .build();
    Arc::new(event.unwrap())
}

fn steps(yaml: serde_json::Value) -> Result<Transforms> {
    Transforms::compile(&serde_json::from_value::<Vec<TransformConfig>>(yaml).unwrap(), None)
}

fn one(transforms: &Transforms) -> Transformed {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime
        .block_on(transforms.apply(vec![Ok::<_, Infallible>(event())]))
        .remove(0)
        .unwrap()
}

fn kept(yaml: serde_json::Value) -> Arc<Event> {
    match one(&steps(yaml).unwrap()) {
        Transformed::Keep(event, _) => event,
        other => panic!("{other:?}"),
    }
}

fn failed(transforms: &Transforms) -> Failure {
    match one(transforms) {
        Transformed::Failed(unchanged, failure) => {
            assert_eq!(unchanged, event());
            failure
        }
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
        match one(&transforms) {
            Transformed::Keep(after, key) => assert!(passes && after == event() && key.as_deref() == Some("p"), "{program}"),
            Transformed::Drop => assert!(!passes, "{program}"),
            Transformed::Failed(_, failure) | Transformed::Lost(failure) => panic!("{program}: {failure}"),
        }
    }
}

#[test]
fn jq_maps_the_event_and_keeps_untouched_data_as_it_was() {
    let same = kept(serde_json::json!([{ "jq": ".type = \"new\" | .extra = 7" }]));
    assert_eq!((same.ty(), text(&same).as_str()), ("new", DATA));
    assert_eq!(same.extension("extra").unwrap().to_string(), "7");
    let equal = kept(serde_json::json!([{ "jq": ".data.action = \"opened\"" }]));
    assert_eq!(text(&equal), DATA);
    let last_digit = kept(serde_json::json!([{ "jq": ".data.n = 18446744073709551616" }]));
    assert!(text(&last_digit).contains("18446744073709551616"), "{}", text(&last_digit));
    let changed = kept(serde_json::json!([{ "jq": ".data |= {n, d}" }]));
    assert_eq!(text(&changed), r#"{"n":18446744073709551617,"d":0.1000000000000000055}"#);
    let dropped = steps(serde_json::json!([{ "jq": "select(.data.action == \"closed\")" }])).unwrap();
    assert!(matches!(one(&dropped), Transformed::Drop));
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
        assert!(error.reason().contains("transforms.0"), "{}", error.reason());
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
        "error(.data)",
    ] {
        let failure = failed(&steps(serde_json::json!([{ "jq": program }])).unwrap());
        assert_eq!(
            (failure.kind, &*failure.code.to_string()),
            (FailureKind::Permanent, "OC0126"),
            "{program}: {failure}"
        );
        assert!(!failure.reason().contains("opened"), "{program}: {failure}");
    }
}

#[test]
fn what_reaches_beyond_the_event_is_refused_at_the_start() {
    for name in [
        "env",
        "$ENV",
        "halt",
        "halt_error",
        "input",
        "inputs",
        "debug",
        "stderr",
        "input_filename",
    ] {
        let error = steps(serde_json::json!([{ "jq": format!(".a = ({name})") }])).err().unwrap();
        assert_eq!(error.code, "OC0123", "{name}");
        assert!(error.reason().contains(&format!("`{name}` is not allowed")), "{}", error.reason());
        assert!(error.hint.is_some_and(|hint| hint.contains("sees the event alone")), "{name}");
    }
    assert!(steps(serde_json::json!([{ "filter": "now > 0" }])).is_ok());
}

#[test]
fn a_key_is_what_an_expression_gives() {
    let keyed = |expression: &str| match one(&Transforms::compile(&[], Some(expression)).unwrap()) {
        Transformed::Keep(after, key) => {
            assert_eq!(after, event());
            Ok(key)
        }
        Transformed::Failed(after, failure) => {
            assert_eq!(after, event());
            Err(failure)
        }
        Transformed::Drop | Transformed::Lost(_) => panic!("{expression}"),
    };
    for (expression, key) in [
        (".partitionkey", Some("p")),
        (".data.action", Some("opened")),
        (".data.n", Some("18446744073709551617")),
        (r#".data | "\(.action)-\(.n)""#, Some("opened-18446744073709551617")),
        (".data.order.id // .subject", Some("sub")),
        (".data | [.action]", Some("[\"opened\"]")),
        (".data.none | .", None),
        ("empty", None),
        (".subject, error", Some("sub")),
    ] {
        assert_eq!(keyed(expression).unwrap().as_deref(), key, "{expression}");
    }
    for expression in [".data.action | tonumber", "error(.data)", "def f: 1 + f; f"] {
        let failure = keyed(expression).unwrap_err();
        assert_eq!(
            (failure.kind, &*failure.code.to_string()),
            (FailureKind::Permanent, "OC0127"),
            "{expression}"
        );
        assert!(!failure.reason().contains("opened"), "{expression}: {failure}");
    }
}
