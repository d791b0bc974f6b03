//! Steps that change or drop events between source or inbox and the other side.

use cloudevents::Event;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::error::Result;
use crate::failure::Failure;

/// One step of `transforms:`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransformConfig {
    /// A jq program over the event as JSON; see the module's documentation.
    Jq(String),
}

/// What became of an event.
#[derive(Debug)]
pub enum Transformed {
    /// Goes on, changed or not.
    Keep(Event),
    /// Is not delivered: outcome Filtered.
    Drop,
}

/// The compiled steps of a connector. `Send + Sync`; `apply` takes `&self`.
pub struct Transforms {}

impl Transforms {
    /// Compiles every step; errors name the step's index and what is wrong.
    pub fn compile(configs: &[TransformConfig]) -> Result<Self> {
        let _ = configs;
        Ok(Self {})
    }

    /// True when there is nothing to do.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// Runs the steps. A failure is permanent: the event (returned unchanged) goes to the dead letters.
    pub fn apply(&self, event: Event) -> std::result::Result<Transformed, Box<(Event, Failure)>> {
        Ok(Transformed::Keep(event))
    }
}

/// An event's ordering key.
pub struct KeyExpression {}

impl KeyExpression {
    /// Compiles `delivery.key`; `None` means `.partitionkey`.
    pub fn compile(expression: Option<&str>) -> Result<Self> {
        let _ = expression;
        Ok(Self {})
    }

    /// The key, or `None` when the event has none (it is then unordered).
    pub fn key(&self, event: &Event) -> Option<String> {
        let _ = event;
        None
    }
}
