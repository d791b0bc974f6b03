//! `config plan`: what a change of the configuration means, before it is made. What is said of a setting is the setting's own
//! `x-effect`.

use std::fmt::Write as _;
use std::path::Path;

use openconnect_config::{Change, Written};
use openconnect_schema::Node;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Cli, Connector, runtime};
use crate::admin::{StatusHandle, guarantee_name};
use crate::config::{Guarantee, Loaded, NO_EFFECT, Sources, load, schema};
use crate::engine::App;
use crate::error::{Exit, Result};

pub(crate) fn plan<C: Connector>(cli: &Cli, old: &Path, new: &Path) -> Result<Exit> {
    let read = |file: &Path| {
        let loaded = load::<C::Config>(&Sources::of_process(Some(file.to_owned()), cli.options.set.clone()), C::SECTION);
        loaded.inspect_err(|rejected| cli.output.problems(&rejected.problems))
    };
    let (old, new) = (read(old)?, read(new)?);
    let changes = changes(&schema::<C::Config>(C::SECTION), &old.written, &new.written);
    let runtime = runtime()?;
    let [before, after] = [old, new].map(|loaded| runtime.block_on(guarantee::<C>(cli, loaded)));
    runtime.shutdown_background();
    let (before, after) = (before?, after?);
    cli.output
        .result(&as_json(&changes, before, after), || as_text(&changes, before, after));
    Ok(Exit::Clean)
}

/// What the configuration guarantees, as `check` computes it without connecting.
async fn guarantee<C: Connector>(cli: &Cli, loaded: Loaded<C::Config>) -> Result<Guarantee> {
    let app = App {
        status: StatusHandle::new(&loaded.settings.name, C::NAME, cli.version),
        settings: loaded.settings,
        config: loaded.connector,
        shared_offsets: cli.shared_offsets,
        drain: false,
        shutdown: CancellationToken::new(),
    };
    Ok(C::check(app, false).await?.guarantee)
}

/// What differs, each with what it does to events.
fn changes(schema: &Value, old: &Written, new: &Written) -> Vec<(Change, String)> {
    let root = Node::root(schema);
    let with_effect = |change: Change| {
        let effect = root.effect(change.path.iter().map(String::as_str)).unwrap_or(NO_EFFECT).to_owned();
        (change, effect)
    };
    old.changes(new).into_iter().map(with_effect).collect()
}

fn as_json(changes: &[(Change, String)], before: Guarantee, after: Guarantee) -> Value {
    let of = |(change, effect): &(Change, String)| json!({ "setting": change.path.join("."), "before": change.before, "after": change.after, "effect": effect });
    let list: Vec<Value> = changes.iter().map(of).collect();
    json!({ "changes": list, "guarantee": { "before": guarantee_name(before), "after": guarantee_name(after) } })
}

fn as_text(changes: &[(Change, String)], before: Guarantee, after: Guarantee) -> String {
    let shown = |value: &Value| {
        if value.is_null() {
            "(default)".to_owned()
        } else {
            value.to_string()
        }
    };
    let mut text = String::new();
    for (change, effect) in changes {
        let path = change.path.join(".");
        let _ = if change.before == change.after {
            writeln!(text, "{path}: another secret\n    {effect}")
        } else {
            writeln!(text, "{path}: {} -> {}\n    {effect}", shown(&change.before), shown(&change.after))
        };
    }
    if changes.is_empty() {
        text.push_str("nothing changes\n");
    }
    let (before, after) = (guarantee_name(before), guarantee_name(after));
    let _ = if before == after {
        writeln!(text, "guarantee: {after}, as before")
    } else {
        writeln!(text, "guarantee: {before} -> {after}")
    };
    text
}
