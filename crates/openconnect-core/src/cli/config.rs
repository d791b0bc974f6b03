//! `config example`, `config schema`, `config show`.

use serde_json::Value;

use super::args::ConfigCommand;
use super::{Cli, Connector};
use crate::config::{example, schema};
use crate::error::{Exit, Result};

pub(crate) fn config<C: Connector>(cli: &Cli, command: &ConfigCommand) -> Result<Exit> {
    match command {
        ConfigCommand::Example => cli.output.line(example::<C::Config>(C::NAME, C::SECTION).trim_end()),
        ConfigCommand::Schema => cli.output.line(&pretty(&schema::<C::Config>(C::SECTION))),
        ConfigCommand::Show => {
            let loaded = cli.load::<C>()?;
            cli.output.result(&loaded.shown, || yaml(&loaded.shown));
        }
    }
    Ok(Exit::Clean)
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// The value as YAML: sections indented, everything else as JSON, which YAML includes.
fn yaml(value: &Value) -> String {
    fn write(value: &Value, depth: usize, out: &mut String) {
        let Value::Object(map) = value else { return };
        for (key, value) in map {
            let indent = "  ".repeat(depth);
            let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            let key = if plain {
                key.clone()
            } else {
                Value::String(key.clone()).to_string()
            };
            match value {
                Value::Object(map) if !map.is_empty() => {
                    out.push_str(&format!("{indent}{key}:\n"));
                    write(value, depth + 1, out);
                }
                other => out.push_str(&format!("{indent}{key}: {other}\n")),
            }
        }
    }
    let mut out = String::new();
    write(value, 0, &mut out);
    out
}
