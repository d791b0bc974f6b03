//! Is it true what a program says of its settings? For the tests of programs.

use openconnect_schema::settings;
use serde_json::Value;

use crate::example::{example, in_full};
use crate::layers::Sources;
use crate::problem::Rejected;
use crate::yaml::yaml_value;

/// What the example and the schema of `openconnect-<program>` say falsely; empty when all holds:
///
/// * the example loads, as it is and with nothing in it commented out;
/// * a setting that is written with its default means the same as one that is left out.
///
/// `load` reads a configuration and shows the settings with `{:?}`.
pub fn contradictions(root: &Value, program: &str, load: impl Fn(&Sources) -> Result<String, Rejected>) -> Vec<String> {
    let text = example(root, program);
    let mut found = Vec::new();
    let mut check = |what: &str, text: &str| match flags(text) {
        Err(reason) => {
            found.push(format!("{what}: {reason}"));
            None
        }
        Ok(set) => match load(&with(set.clone())) {
            Ok(shown) => Some((set, shown)),
            Err(rejected) => {
                found.push(format!("{what}: {rejected}"));
                None
            }
        },
    };
    check("the example with nothing commented out", &in_full(&text));
    let Some((set, plain)) = check("the example", &text) else {
        return found;
    };
    // A setting that the example has is not compared: there its default alone would not do.
    let compared = settings(root)
        .into_iter()
        .filter(|setting| setting.always && !setting.node.is_section() && setting.node.get("x-in-example").is_none());
    for (path, default) in compared.filter_map(|setting| Some((setting.path, setting.node.default()?))) {
        let text = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        let mut set = set.clone();
        set.push(format!("{path}={text}"));
        match load(&with(set)) {
            Ok(shown) if shown == plain => {}
            Ok(shown) => found.push(format!("{path}: its default is not {text}: {plain} became {shown}")),
            Err(rejected) => found.push(format!("{path}: its default {text} is refused: {rejected}")),
        }
    }
    found
}

/// A file as flags, one for each section.
fn flags(text: &str) -> Result<Vec<String>, String> {
    let value = yaml_value(text).map_err(|e| e.to_string())?;
    // A section of which all is commented out is absent.
    let sections = value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    Ok(sections
        .map(|(key, value)| match value {
            Value::String(text) => format!("{key}={text}"),
            other => format!("{key}={other}"),
        })
        .collect())
}

fn with(set: Vec<String>) -> Sources {
    Sources { set, ..Sources::default() }
}
