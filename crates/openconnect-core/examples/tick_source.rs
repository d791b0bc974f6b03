//! A whole source: one event a tick, resuming after the last one that the mesh has.

use std::time::Duration;

use openconnect_core::cloudevents::{EventBuilder, EventBuilderV10};
use openconnect_core::config::{ConnectorConfig, Problems};
use openconnect_core::duration::HumanDuration;
use openconnect_core::record::{Partition, Record};
use openconnect_core::source::{Source, SourceContext};
use openconnect_core::{Failure, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// Counts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TickConfig {
    /// Time between two events.
    interval: HumanDuration,
}

impl ConnectorConfig for TickConfig {
    fn validate(&self, problems: &mut Problems) {
        if self.interval.0 < Duration::from_millis(1) {
            problems.add("interval", "must be at least 1ms");
        }
    }
}

struct TickSource {
    interval: Duration,
    partition: Partition,
    next: u64,
}

impl Source for TickSource {
    const NAME: &'static str = "tick-source";
    type Config = TickConfig;
    type Position = u64;

    async fn open(config: TickConfig, cx: SourceContext<u64>) -> Result<Self> {
        let partition = Partition::new("ticks");
        let next = cx.offsets.get(&partition).map_or(1, |last| last + 1);
        Ok(Self {
            interval: config.interval.0,
            partition,
            next,
        })
    }

    async fn poll(&mut self) -> Result<Vec<Record<u64>>, Failure> {
        tokio::time::sleep(self.interval).await;
        let event = EventBuilderV10::new()
            .id(format!("tick-{}", self.next))
            .source("urn:tick")
            .ty("org.example.tick")
            .build()
            .map_err(|e| Failure::fatal("TICK_EVENT", e.to_string()))?;
        let record = Record {
            event,
            partition: self.partition.clone(),
            position: Some(self.next),
            receipt: None,
        };
        self.next += 1;
        Ok(vec![record])
    }
}

openconnect_core::source_main!(TickSource);
