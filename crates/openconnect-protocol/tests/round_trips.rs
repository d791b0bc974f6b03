//! Any valid event comes out of every form as it went in.
#![allow(clippy::unwrap_used, missing_docs)]

use chrono::{DateTime, Utc};
use cloudevents::event::ExtensionValue;
use cloudevents::{AttributesReader as _, AttributesWriter as _, Event, EventBuilder as _, EventBuilderV10};
use openconnect_protocol::{attributes, grpc, http, json, payload, wire};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

/// JSON as text: numbers have more digits than any machine type.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?",
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(" , "))),
            vec((any::<String>(), inner), 0..4).prop_map(|members| {
                let members: Vec<String> = members
                    .into_iter()
                    .map(|(name, value)| format!("{}: {value}", serde_json::to_string(&name).unwrap()))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

type Content = Option<(Option<String>, Vec<u8>)>;

fn content() -> impl Strategy<Value = Content> {
    let json_type = proptest::sample::select(vec![None, Some("application/json"), Some("application/vnd.x+json; charset=utf-8")]);
    let any_type = proptest::sample::select(vec![
        None,
        Some("application/json"),
        Some("text/plain"),
        Some("application/xml"),
        Some("application/octet-stream"),
        Some("application/cloudevents+json"),
    ]);
    let owned = |ct: Option<&'static str>| ct.map(str::to_owned);
    prop_oneof![
        Just(None),
        (json_type, json_text()).prop_map(move |(ct, text)| Some((owned(ct), text.into_bytes()))),
        (any_type.clone(), any::<String>()).prop_map(move |(ct, text)| Some((owned(ct), text.into_bytes()))),
        (any_type.clone(), vec(any::<u8>(), 0..60)).prop_map(move |(ct, bytes)| Some((owned(ct), bytes))),
        any_type.prop_map(move |ct| Some((owned(ct), Vec::new()))),
    ]
}

fn extension() -> impl Strategy<Value = (String, ExtensionValue)> {
    let taken = vec![
        "ttl",
        "sys",
        "idc",
        "uniqueid",
        "tag",
        "url",
        "statuscode",
        "ocsubject",
        "occontenttype",
        "ocencoding",
        "ocx",
        "ocxttl",
        "ocxocxttl",
        "ocxmine",
        "partitionkey",
        "seqnum",
        "cluster",
    ];
    let name = prop_oneof![
        "[a-z0-9]{1,20}".prop_filter("a valid name", |name| attributes::is_valid_extension(name)),
        proptest::sample::select(taken).prop_map(str::to_owned),
    ];
    let value = prop_oneof![
        any::<String>().prop_map(ExtensionValue::String),
        any::<bool>().prop_map(ExtensionValue::Boolean),
        any::<i32>().prop_map(|n| ExtensionValue::Integer(n.into())),
    ];
    (name, value)
}

fn event() -> impl Strategy<Value = Event> {
    let time = (-62_000_000_000..253_000_000_000i64, 0..1_000_000_000u32)
        .prop_map(|(seconds, nanos)| DateTime::<Utc>::from_timestamp(seconds, nanos).unwrap());
    (
        (".{1,12}", ".{1,12}", ".{1,12}", option::of(".{1,12}"), option::of(time)),
        (
            option::of(Just("https://example.org/schema?v=1")),
            option::of("[a-z]{1,5}/[a-z]{1,5}"),
        ),
        vec(extension(), 0..5),
        content(),
    )
        .prop_map(|((id, source, ty, subject, time), (schema, bare_type), extensions, content)| {
            let mut event = EventBuilderV10::new().id(id).source(source).ty(ty).build().unwrap();
            event.set_subject(subject);
            event.set_time(time);
            for (name, value) in extensions {
                event.set_extension(&name, value);
            }
            match content {
                Some((content_type, bytes)) => payload::set_bytes(&mut event, content_type, bytes),
                None => {
                    event.set_datacontenttype(bare_type);
                }
            }
            event.set_dataschema(schema.map(|schema| schema.parse::<url::Url>().unwrap()));
            event
        })
}

proptest! {
    #[test]
    fn through_the_json_format(event in event()) {
        prop_assert_eq!(json::decode(&json::encode(&event)).unwrap(), event);
    }

    #[test]
    fn through_a_batch(events in vec(event(), 0..4)) {
        prop_assert_eq!(json::decode_batch(&json::encode_batch(&events)).unwrap(), events);
    }

    #[test]
    fn through_the_mesh_in_json(event in event()) {
        let bytes = wire::encode(&event, "a-topic");
        prop_assert_eq!(wire::peek(&bytes).unwrap().subject, "a-topic");
        prop_assert_eq!(wire::decode(&bytes).unwrap(), event);
    }

    #[test]
    fn through_the_mesh_with_what_it_adds(event in event()) {
        let mut bytes = Vec::new();
        wire::encode_into(&event, "a-topic", &[("ttl", "4000"), ("uniqueid", "7")], &mut bytes);
        prop_assert_eq!(wire::decode(&bytes).unwrap(), event);
    }

    #[test]
    fn through_grpc(event in event()) {
        let message = grpc::from_event(&event, "a-topic");
        prop_assert_eq!(grpc::attr(&message, grpc::keys::SUBJECT), Some("a-topic"));
        prop_assert!(message.data.is_some(), "the server refuses events without data");
        prop_assert_eq!(grpc::to_event(message).unwrap(), event);
    }

    #[test]
    fn through_the_headers_of_binary_mode(event in event()) {
        let headers: std::collections::BTreeMap<String, String> = http::binary_headers(&event).into_iter().collect();
        for (name, value) in &headers {
            prop_assert!(value.bytes().all(|b| (0x21..0x7f).contains(&b)), "{name}: {value}");
        }
        let read = |name: &str| headers.get(&format!("ce-{name}")).map(|value| http::decode(value.as_bytes()).unwrap());
        prop_assert_eq!(read("id").unwrap(), event.id());
        prop_assert_eq!(read("source").unwrap(), event.source().as_str());
        prop_assert_eq!(read("type").unwrap(), event.ty());
        let subject = read("subject");
        prop_assert_eq!(subject.as_deref(), event.subject());
        for (name, value) in event.iter_extensions() {
            prop_assert_eq!(read(name).unwrap(), value.to_string());
        }
    }

    /// What `check` takes is read back from every form, and what it refuses from none.
    #[test]
    fn an_event_is_checked_as_its_receivers_do(
        mut event in event(),
        (id, source, ty) in ("[a-z]{0,2}", "[a-z]{0,2}", "[a-z]{0,2}"),
        subject in option::of("[a-z]{0,1}"),
        seconds in option::of(-400_000_000_000_i64..400_000_000_000),
        name in option::of("[a-zA-Z0-9_é]{0,3}|[a-z]{60,70}|ocx[a-z]{58,64}|data|id|time|subject"),
    ) {
        event.set_id(id);
        event.set_source(source);
        event.set_type(ty);
        event.set_subject(subject);
        event.set_time(seconds.map(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0).unwrap()));
        if let Some(name) = name {
            event.set_extension(&name, ExtensionValue::Boolean(true));
        }
        let checked = openconnect_protocol::check(&event);
        let structured = json::decode(&json::encode(&event));
        let carried = wire::decode(&wire::encode(&event, "a-topic"));
        match checked {
            Ok(()) => {
                prop_assert_eq!(&structured.unwrap(), &event);
                prop_assert_eq!(&carried.unwrap(), &event);
                prop_assert_eq!(grpc::to_event(grpc::from_event(&event, "a-topic")).unwrap(), event);
            }
            Err(wrong) => prop_assert!(structured.is_err() || structured.unwrap() != event, "{wrong}"),
        }
    }

    #[test]
    fn any_name_is_judged_without_a_panic(names in btree_map(any::<String>(), Just(()), 0..8)) {
        for name in names.keys() {
            prop_assert!(!attributes::is_valid_extension(name) || attributes::is_acceptable(name));
        }
    }
}
