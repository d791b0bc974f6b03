//! What a jq step costs an event in processor time, handed over one by one and as many at once as the engine does:
//! `cargo run --release -p openconnect-core --example transform_cost`.

use std::convert::Infallible;

use openconnect_core::cloudevents::{Event, EventBuilder, EventBuilderV10};
use openconnect_core::transform::{TransformConfig, Transforms};
use rustix::time::{ClockId, clock_gettime};

const EVENTS: usize = 32 * 2_000;

/// About 500 bytes, as the events of the pipeline benchmark.
const DATA: &str = r#"{"action": "opened", "a": 1, "b": "two", "number": 17, "title": "A title of some length",
    "user": {"login": "octocat", "id": 583231}, "labels": ["bug", "urgent"],
    "nested": {"list": [1, 2, 3, 4.5, "five"], "flag": true, "none": null},
    "body": "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore magna aliqua."}"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let event = EventBuilderV10::new().id("1").source("/s").ty("t").subject("sub");
    let event = event.data("application/json", DATA.to_owned()).build()?;
    for program in [r#"select(.data.action == "opened")"#, ".data |= {a, b}"] {
        let transforms = Transforms::compile(&[TransformConfig::Jq(program.to_owned())], None).map_err(|error| error.message)?;
        for together in [1, 32] {
            let nanoseconds = cost(&transforms, &event, together).await / EVENTS as u128;
            println!("{program:<40} {together:>2} at once: {nanoseconds:>6} ns an event");
        }
    }
    Ok(())
}

async fn cost(transforms: &Transforms, event: &Event, together: usize) -> u128 {
    let started = processor_time();
    for _ in 0..EVENTS / together {
        std::hint::black_box(transforms.apply(vec![Ok::<_, Infallible>(event.clone()); together]).await);
    }
    processor_time() - started
}

fn processor_time() -> u128 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    u128::from(time.tv_sec.unsigned_abs()) * 1_000_000_000 + u128::from(time.tv_nsec.unsigned_abs())
}
