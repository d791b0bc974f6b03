//! Steps that change or drop events between source or inbox and the other side.
//!
//! | file | what is in it |
//! |---|---|
//! | `jq/` | jq programs, bounded in time, memory and depth |
//! | `worker` | the thread that programs run on |
//! | `attributes` | the steps `set`, `rename` and `drop` |
//! | [`key`](KeyExpression) | `delivery.key`: what orders events |
//! | [`template`] | text from events |
//! | `raw_json` | what is asked for out of JSON, by its text |
//!
//! What a step does not change stays as it is: data keeps its exact text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use cloudevents::Event;
use openconnect_error::codes::TASK_ENDED;
use openconnect_error::{Failure, Result};
use schemars::JsonSchema;
use serde::Deserialize;

mod attributes;
pub mod codes;
mod jq;
mod key;
mod raw_json;
pub mod template;
mod worker;

use attributes::{Drop, Rename, Set};
use jq::{Filter, Map};
pub use key::KeyExpression;
use worker::Worker;

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
pub enum Transformed {
    /// Goes on, changed or not, with its ordering key.
    Keep(Arc<Event>, Option<String>),
    /// Is not delivered: outcome Filtered.
    Drop,
    /// Goes to the dead letters, as it was.
    Failed(Arc<Event>, Failure),
    /// Was taken along by a transform that broke off: the connector must stop.
    Lost(Failure),
}

enum Step {
    Map(Map),
    Filter(Filter),
    Set(Set),
    Rename(Rename),
    Drop(Drop),
}

/// An event that goes on, and its key.
type Kept<'a> = (Cow<'a, Event>, Option<String>);

/// What happens to each event, in order; last, its key is found.
struct Steps {
    steps: Vec<Step>,
    key: KeyExpression,
}

/// The compiled steps of a connector and its `delivery.key`.
pub struct Transforms {
    run: Run,
}

enum Run {
    /// There is no program: nothing that takes long or needs a deep stack.
    Here(Steps),
    Worker(Worker),
}

impl Transforms {
    /// Compiles every step and `delivery.key`; errors name the step's index and what is wrong. Programs get a thread, which
    /// ends with this.
    pub fn compile(configs: &[TransformConfig], key: Option<&str>) -> Result<Self> {
        let key = KeyExpression::compile(key)?;
        let programs = configs
            .iter()
            .any(|config| matches!(config, TransformConfig::Jq(_) | TransformConfig::Filter(_)));
        let run = if programs || key.is_program() {
            let steps = worker::with_stack(|| compile(configs))?;
            Run::Worker(Worker::start(Steps { steps, key })?)
        } else {
            Run::Here(Steps {
                steps: compile(configs)?,
                key,
            })
        };
        Ok(Self { run })
    }

    /// Runs the steps on each event, in order, and finds its key; one answer for each. What is no event (`Err`) passes by.
    /// Never blocks the caller's thread for longer than attributes take. An event that a program fails on is returned as it
    /// was; the others are none the worse.
    pub async fn apply<X>(&self, events: Vec<std::result::Result<Arc<Event>, X>>) -> Vec<std::result::Result<Transformed, X>> {
        let worker = match &self.run {
            Run::Here(steps) => return events.into_iter().map(|event| event.map(|event| steps.apply(event))).collect(),
            Run::Worker(worker) => worker,
        };
        let mut fit = Vec::with_capacity(events.len());
        let passing: Vec<Option<X>> = events.into_iter().map(|event| event.map(|event| fit.push(event)).err()).collect();
        let (done, lost) = match worker.apply(fit).await {
            Ok(done) => (done, None),
            Err(failure) => (Vec::new(), Some(failure)),
        };
        let lost = lost.unwrap_or_else(|| Failure::fatal(TASK_ENDED, "a transform lost an event; this is a bug"));
        let mut done = done.into_iter();
        let answers = passing.into_iter().map(|passing| match passing {
            Some(passing) => Err(passing),
            None => Ok(done.next().unwrap_or_else(|| Transformed::Lost(lost.clone()))),
        });
        answers.collect()
    }
}

fn compile(configs: &[TransformConfig]) -> Result<Vec<Step>> {
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
    compiled.collect()
}

impl Steps {
    fn apply(&self, event: Arc<Event>) -> Transformed {
        match self.run(&event) {
            Ok(Some((Cow::Owned(event), key))) => Transformed::Keep(Arc::new(event), key),
            Ok(Some((Cow::Borrowed(_), key))) => Transformed::Keep(event, key),
            Ok(None) => Transformed::Drop,
            Err(failure) => Transformed::Failed(event, failure),
        }
    }

    fn run<'a>(&self, event: &'a Event) -> std::result::Result<Option<Kept<'a>>, Failure> {
        let mut current = Cow::Borrowed(event);
        for step in &self.steps {
            let changed = match step {
                Step::Filter(filter) if filter.passes(&current)? => continue,
                Step::Filter(_) => return Ok(None),
                Step::Map(map) => match map.apply(&current)? {
                    Some(changed) => changed,
                    None => return Ok(None),
                },
                Step::Set(set) => set.apply(current.into_owned())?,
                Step::Rename(rename) => rename.apply(current.into_owned()),
                Step::Drop(drop) => drop.apply(current.into_owned()),
            };
            current = Cow::Owned(changed);
        }
        let key = self.key.key(&current)?;
        Ok(Some((current, key)))
    }
}

#[cfg(test)]
mod tests;
