//! The configuration of a connector: the settings that every connector has, and its own section.
//!
//! How settings are read, checked and shown is in `openconnect_config`; what both are made of is exported here too.
//!
//! | file | what is in it |
//! |---|---|
//! | `section` | the name of that section |
//! | `settings` | the settings that every connector has |
//! | `validate` | what their types cannot say |
//! | `import` | configurations of EventMesh's Java connectors, turned into ours |
//! | `load` | a connector's schema; its settings and its own section, read together |

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

mod import;
mod load;
mod section;
mod settings;
mod validate;

pub use import::Import;
pub use load::{Loaded, contradictions, example, load, schema};
pub(crate) use openconnect_config::write_yaml;
pub use openconnect_config::{LogFormat, LogSettings, Problem, Problems, Rejected, Sources, yaml_value};
pub use section::Section;
pub use settings::*;

/// What most settings say of a change (`x-effect`): events don't notice.
pub const NO_EFFECT: &str = "holds from the restart on; nothing is repeated or left out";

/// A connector's own section (`source:` or `sink:`). Every field has
///
/// * a doc comment: it becomes the reference;
/// * where it is required, an example (`#[schemars(example = &"…")]`) that passes `validate`: it becomes part of `config example`;
/// * what a change of it does to events that were delivered or will be (`#[schemars(extend("x-effect" = "…"))]`): `config plan`
///   says it. [`NO_EFFECT`] where events don't notice. What a section says holds for what is in it.
///
/// [`contradictions`] finds a field that does not.
pub trait ConnectorConfig: DeserializeOwned + JsonSchema + Send + 'static {
    /// Can a source with this section take a topic as its input? Then `input:` is one of the connector's settings. Under which
    /// configuration it does, [`Source::profile`](crate::source::Source::profile) says.
    const TAKES_INPUT: bool = false;

    /// Checks what types cannot say. Every problem found is reported, not only the first.
    fn validate(&self, problems: &mut Problems) {
        let _ = problems;
    }

    /// What a source tells: a row of the table of event types in its reference. Empty for a sink, which takes any event.
    fn events() -> &'static [EventKind] {
        &[]
    }

    /// For `import-eventmesh`: takes over what the Java connector of the same kind has in its own section. What is not taken is
    /// named as having no counterpart.
    fn import(import: &mut Import) {
        let _ = import;
    }
}

/// A kind of event that a source makes.
#[derive(Debug, Clone, Copy)]
pub struct EventKind {
    /// The `type` attribute. `<…>` stands for what varies, and names the setting where one decides it.
    pub ty: &'static str,
    /// When there is one.
    pub when: &'static str,
    /// What the data is.
    pub data: &'static str,
    /// What `subject`, `partitionkey` and extensions say.
    pub attributes: &'static str,
}
