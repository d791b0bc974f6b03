//! `config example`, `config schema`, `config show`; `config plan` is in `plan.rs`.

use serde_json::Value;

use super::args::ConfigCommand;
use super::{Cli, Connector, plan};
use crate::config::{example, schema, write_yaml};
use crate::error::{Exit, Result};

pub(crate) fn config<C: Connector>(cli: &Cli, command: &ConfigCommand) -> Result<Exit> {
    match command {
        ConfigCommand::Example => cli.output.line(example::<C::Config>(C::NAME, C::SECTION).trim_end()),
        ConfigCommand::Schema => cli.output.line(&pretty(&schema::<C::Config>(C::SECTION))),
        ConfigCommand::Plan { old, new } => return plan::plan::<C>(cli, old, new),
        ConfigCommand::Show => {
            let loaded = cli.load::<C>()?;
            cli.output.result(&loaded.shown, || write_yaml(&loaded.shown));
        }
    }
    Ok(Exit::Clean)
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}
