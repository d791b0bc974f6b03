//! `config example`, `config schema`, `config show`; `config plan` is in `plan.rs`.

use serde_json::{Value, json};

use super::args::ConfigCommand;
use super::{Cli, Connector, plan};
use crate::config::{ConnectorConfig, EventKind, example, schema, write_yaml};
use crate::error::{Exit, Result};

pub(crate) fn config<C: Connector>(cli: &Cli, command: &ConfigCommand) -> Result<Exit> {
    match command {
        ConfigCommand::Example => cli.output.line(example::<C::Config>(C::NAME, C::SECTION).trim_end()),
        ConfigCommand::Schema => cli.output.line(&pretty(&published_schema::<C>())),
        ConfigCommand::Plan { old, new } => return plan::plan::<C>(cli, old, new),
        ConfigCommand::Show => {
            let loaded = cli.load::<C>()?;
            let shown = loaded.written.shown();
            cli.output.result(shown, || write_yaml(shown));
        }
    }
    Ok(Exit::Clean)
}

/// The schema, with the events that a source makes beside it for the reference.
fn published_schema<C: Connector>() -> Value {
    let mut schema = schema::<C::Config>(C::SECTION);
    let kind = |kind: &EventKind| json!({ "type": kind.ty, "when": kind.when, "data": kind.data, "attributes": kind.attributes });
    let events: Vec<Value> = C::Config::events().iter().map(kind).collect();
    if let (false, Value::Object(root)) = (events.is_empty(), &mut schema) {
        root.insert("x-events".to_owned(), Value::Array(events));
    }
    schema
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}
