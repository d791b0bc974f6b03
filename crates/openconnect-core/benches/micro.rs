//! What a step of `transforms:`, a template and a saved offset cost. Allocations are counted.
//!
//! Steps are measured on 32 events at once, as the engine hands them over: programs run on a thread of their own.
#![allow(clippy::unwrap_used, missing_docs)]

use std::convert::Infallible;
use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use openconnect_core::cloudevents::{Event, EventBuilder, EventBuilderV10};
use openconnect_core::offsets::{Acquired, FileStore, OffsetStore};
use openconnect_core::template::Template;
use openconnect_core::transform::{TransformConfig, Transforms};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const TOGETHER: usize = 32;

/// About 500 bytes.
const DATA: &str = r#"{"action": "opened", "a": 1, "b": "two", "number": 17, "title": "A title of some length",
    "user": {"login": "octocat", "id": 583231}, "labels": ["bug", "urgent"],
    "nested": {"list": [1, 2, 3, 4.5, "five"], "flag": true, "none": null},
    "body": "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore magna aliqua."}"#;

fn main() {
    divan::main();
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn event() -> Event {
    let event = EventBuilderV10::new().id("1").source("/s").ty("t").subject("sub");
    event.data("application/json", DATA.to_owned()).build().unwrap()
}

const STEPS: [(&str, &str); 4] = [
    ("none", "[]"),
    ("set", r#"[{"set": {"subject": "{{ data.number }}"}}]"#),
    ("filter", r#"[{"filter": ".data.action == \"opened\""}]"#),
    ("jq", r#"[{"jq": ".data |= {a, b}"}]"#),
];

#[divan::bench(args = STEPS.map(|(name, _)| name))]
fn transform_32(bencher: Bencher<'_, '_>, step: &str) {
    let (_, steps) = STEPS.into_iter().find(|(name, _)| *name == step).unwrap();
    let steps: Vec<TransformConfig> = serde_json::from_str(steps).unwrap();
    let transforms = Transforms::compile(&steps, None).map_err(|error| error.reason()).unwrap();
    let (runtime, event) = (runtime(), event());
    bencher
        .counter(ItemsCount::new(TOGETHER))
        .with_inputs(|| (0..TOGETHER).map(|_| Ok::<_, Infallible>(Arc::new(event.clone()))).collect())
        .bench_local_values(|events| runtime.block_on(transforms.apply(events)));
}

#[divan::bench(args = ["orders", "orders/{{ type }}", "{{ data.user.login | lower }}"])]
fn template(bencher: Bencher<'_, '_>, text: &str) {
    let template = Template::compile(text).map_err(|error| error.reason()).unwrap();
    let event = event();
    bencher.bench_local(|| template.render(black_box(&event)).unwrap());
}

#[divan::bench]
fn offset_commit(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).map_err(|error| error.reason()).unwrap();
    let runtime = runtime();
    let long = std::time::Duration::from_secs(3600);
    let acquired = runtime
        .block_on(store.acquire("bench", long))
        .map_err(|error| error.reason())
        .unwrap();
    let Acquired::Granted(fence) = acquired else { return };
    let mut number = 0_u64;
    bencher.bench_local(|| {
        number += 1;
        let rows = [("orders".to_owned(), json!({ "id": number }))];
        runtime
            .block_on(store.commit(&rows, fence))
            .map_err(|error| error.reason())
            .unwrap()
    });
}
