//! `config plan`: what a change of the configuration means, before it is made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Cli, Connector, runtime};
use crate::admin::{StatusHandle, guarantee_name};
use crate::config::{ConnectorConfig, Guarantee, Loaded, Section, Sources, dotted, load};
use crate::engine::App;
use crate::error::{Exit, Result};

/// A setting that is not the same.
struct Change {
    path: String,
    before: Value,
    after: Value,
    effect: String,
}

pub(crate) fn plan<C: Connector>(cli: &Cli, old: &Path, new: &Path) -> Result<Exit> {
    let read = |file: &Path| {
        let loaded = load::<C::Config>(&Sources::of_process(Some(file.to_owned()), cli.options.set.clone()), C::SECTION);
        loaded.inspect_err(|rejected| cli.output.problems(&rejected.problems))
    };
    let (old, new) = (read(old)?, read(new)?);
    let changes = changes::<C>(&old.shown, &new.shown);
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

fn changes<C: Connector>(old: &Value, new: &Value) -> Vec<Change> {
    let (before, after) = (dotted(old), dotted(new));
    let own = format!("{}.", C::SECTION.key());
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let value = |of: &BTreeMap<String, Value>, path: &String| of.get(path).cloned().unwrap_or(Value::Null);
    paths
        .into_iter()
        .map(|path| (path, value(&before, path), value(&after, path)))
        .filter(|(_, before, after)| before != after)
        .map(|(path, before, after)| {
            let known = path
                .strip_prefix(&own)
                .map_or_else(|| of_core(path, C::SECTION), C::Config::effect_of_change);
            Change {
                path: path.clone(),
                before,
                after,
                effect: known
                    .unwrap_or("holds from the restart on; nothing is repeated or left out")
                    .to_owned(),
            }
        })
        .collect()
}

/// What a change of the settings that every connector has does to events.
fn of_core(path: &str, section: Section) -> Option<&'static str> {
    let source = section == Section::Source;
    Some(match path {
        "name" if source => {
            "another instance: it has no offsets and begins as if for the first time, so events may be REPEATED, or left out where it begins \
             at the present; offsets and dead letters of the old one stay where they are"
        }
        "name" => {
            "another instance: what is in the inbox and the dead letters of the old one STAYS there until it runs again; unless mesh.group is set, \
             the consumer group is another one too: the mesh decides where that begins (`delivery.new_group` of openconnect-mesh; EventMesh 1.x: at \
             the present, so events may be MISSED)"
        }
        "mesh.topic" if source => "events go to the other topic from the restart on; who reads the old one gets no more of them",
        "mesh.topic" => {
            "the other topic is read from the restart on; what is left in the old one is NOT READ by this sink, and waits for its group"
        }
        "mesh.group" if source => "the producer's name; nothing is repeated or left out",
        "mesh.group" => {
            "another consumer group: the mesh decides where it begins (`delivery.new_group` of openconnect-mesh: `earliest` REPEATS the topic; \
             EventMesh 1.x begins at the present, so events may be MISSED); the old group keeps its place"
        }
        "mesh.url" if source => "events go to the other mesh from the restart on",
        "mesh.url" => "another mesh has other events: what is left in the old one is NOT READ by this sink",
        "state.dir" => {
            "offsets, inbox and dead letters are NOT MOVED: stop the connector, move the instance's folder, start it. Else a source may REPEAT, and \
             what is in a sink's inbox stays there"
        }
        "state.offsets" | "state.table_prefix" => {
            "offsets are NOT MOVED: without them the source begins as if for the first time, and may REPEAT. `offsets show` and `offsets set` carry \
             them over"
        }
        "state.inbox_max" => "smaller than what is in the inbox: nothing more is taken until it is below; nothing is lost",
        "delivery.ordering" | "delivery.key" => {
            "which events may overtake which, also among those that wait already; nothing is repeated or left out"
        }
        "delivery.acknowledge" => "what is in the inbox is delivered first; nothing is left out",
        "delivery.require" => "says when the connector refuses to start; changes nothing for events",
        "delivery.retry.max_attempts" => "fewer attempts put events among the dead letters sooner; they can be replayed",
        "dead_letter.topic" | "dead_letter.file" => "old dead letters stay where they are; `dead-letters` looks at the new place",
        "limits.max_event_bytes" => "larger events become dead letters",
        path if path == "transforms" || path.starts_with("transforms.") => {
            "holds for every event from the restart on, also for those that wait in the inbox; what was published or delivered stays as it is"
        }
        _ => return None,
    })
}

fn as_json(changes: &[Change], before: Guarantee, after: Guarantee) -> Value {
    let list: Vec<Value> = changes
        .iter()
        .map(|change| json!({ "setting": change.path, "before": change.before, "after": change.after, "effect": change.effect }))
        .collect();
    json!({ "changes": list, "guarantee": { "before": guarantee_name(before), "after": guarantee_name(after) } })
}

fn as_text(changes: &[Change], before: Guarantee, after: Guarantee) -> String {
    let shown = |value: &Value| {
        if value.is_null() {
            "(default)".to_owned()
        } else {
            value.to_string()
        }
    };
    let mut text = String::new();
    for change in changes {
        let (path, before, after) = (&change.path, shown(&change.before), shown(&change.after));
        let _ = writeln!(text, "{path}: {before} -> {after}\n    {}", change.effect);
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
