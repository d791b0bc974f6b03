//! Steps that change or drop events between source or inbox and the other side.
//!
//! `jq.rs`: jq programs on a thread of their own. `attributes.rs`: `set`, `rename` and `drop`. `key.rs`: `delivery.key`.
//!
//! What a step does not change stays as it is: data keeps its exact text.

use std::collections::BTreeMap;

use cloudevents::Event;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::error::Result;
use crate::failure::Failure;

mod attributes;
mod jq;
mod key;

use attributes::{Drop, Rename, Set};
use jq::{Filter, Map};
pub use key::KeyExpression;

/// One step of `transforms:`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransformConfig {
    /// A jq program over the event as JSON, with its attributes and `data`. Its output is the new event; no output drops
    /// the event: `select(.data.action == "opened")`.
    Jq(String),
    /// A jq condition over the event as JSON. The event goes on unchanged where it gives neither `false` nor `null` nor nothing.
    Filter(String),
    /// Attributes to set, as templates over the event: `{ subject: "{{ data.id }}" }`.
    Set(BTreeMap<String, String>),
    /// Extensions (or `subject`) to rename: old name to new name. Absent ones are left out.
    Rename(BTreeMap<String, String>),
    /// Extensions, `subject` or `time` to leave out.
    Drop(Vec<String>),
}

/// What became of an event.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every event is kept: a box would cost each of them an allocation"
)]
pub enum Transformed {
    /// Goes on, changed or not.
    Keep(Event),
    /// Is not delivered: outcome Filtered.
    Drop,
}

enum Step {
    Map(Map),
    Filter(Filter),
    Set(Set),
    Rename(Rename),
    Drop(Drop),
}

/// The compiled steps of a connector. `Send + Sync`; `apply` takes `&self`.
pub struct Transforms {
    steps: Vec<Step>,
}

impl Transforms {
    /// Compiles every step; errors name the step's index and what is wrong.
    pub fn compile(configs: &[TransformConfig]) -> Result<Self> {
        let compiled = configs.iter().enumerate().map(|(at, config)| {
            let place = format!("transforms.{at}");
            Ok(match config {
                TransformConfig::Jq(program) => Step::Map(Map::compile(&place, program)?),
                TransformConfig::Filter(program) => Step::Filter(Filter::compile(&place, program)?),
                TransformConfig::Set(attributes) => Step::Set(Set::compile(&place, attributes)?),
                TransformConfig::Rename(names) => Step::Rename(Rename::compile(&place, names)?),
                TransformConfig::Drop(names) => Step::Drop(Drop::compile(&place, names)?),
            })
        });
        Ok(Self {
            steps: compiled.collect::<Result<_>>()?,
        })
    }

    /// True when there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Runs the steps. After a permanent failure the event (returned unchanged) goes to the dead letters; a fatal one means
    /// that a program does not end, and nothing can go on. Blocks for as long as the programs run, at the most
    /// [`jq::LIMIT`] each.
    pub fn apply(&self, event: Event) -> std::result::Result<Transformed, Box<(Event, Failure)>> {
        if self.steps.is_empty() {
            return Ok(Transformed::Keep(event));
        }
        let mut current = event.clone();
        for step in &self.steps {
            let done = match step {
                Step::Map(map) => map.apply(current),
                Step::Filter(filter) => filter.passes(&current).map(|passes| passes.then_some(current)),
                Step::Set(set) => set.apply(current).map(Some),
                Step::Rename(rename) => Ok(Some(rename.apply(current))),
                Step::Drop(drop) => Ok(Some(drop.apply(current))),
            };
            match done {
                Ok(Some(event)) => current = event,
                Ok(None) => return Ok(Transformed::Drop),
                Err(failure) => return Err(Box::new((event, failure))),
            }
        }
        Ok(Transformed::Keep(current))
    }
}

#[cfg(test)]
mod tests;
