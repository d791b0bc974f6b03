//! `offsets show|set|reset`: where a source resumes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::args::OffsetsCommand;
use super::{Cli, Connector};
use crate::config::Section;
use crate::error::{Error, Exit, Result};
use crate::offsets::OffsetStore;
use crate::state::StateDir;

pub(crate) fn offsets<C: Connector>(cli: &Cli, command: &OffsetsCommand) -> Result<Exit> {
    if C::SECTION == Section::Sink {
        return Err(
            Error::config("OC0505", "a sink has no offsets: the mesh knows where its consumer group is")
                .hint("`dead-letters list` shows what this sink could not deliver"),
        );
    }
    let settings = cli.load::<C>()?.settings;
    let folder = StateDir::path_of(&settings.state, &settings.name);
    if let (OffsetsCommand::Show, false) = (command, folder.join("offsets.redb").exists()) {
        // Looking makes no state.
        show(cli, &BTreeMap::new(), &folder);
        return Ok(Exit::Clean);
    }
    // The lock: a running connector would write its own offsets over these.
    let state = StateDir::open(&settings, C::NAME)?;
    let store = OffsetStore::open(state.path())?;
    match command {
        OffsetsCommand::Show => show(cli, &store.all()?, &folder),
        OffsetsCommand::Set { partition, position } => {
            let position: Value = serde_json::from_str(position).map_err(|e| {
                Error::config("OC0506", format!("the position is not JSON: {e}"))
                    .hint("write it as `offsets show` prints it, in single quotes for the shell")
            })?;
            store.set(partition, position.clone())?;
            cli.output.result(&json!({ "set": { partition: position } }), || {
                format!("{partition} is at {position}")
            });
        }
        OffsetsCommand::Reset {
            partition: Some(partition),
            ..
        } => reset(cli, &store, std::slice::from_ref(partition))?,
        OffsetsCommand::Reset { partition: None, .. } => {
            let all: Vec<String> = store.all()?.into_keys().collect();
            reset_all(cli, &store, &all)?;
        }
    }
    Ok(Exit::Clean)
}

fn show(cli: &Cli, all: &BTreeMap<String, Value>, folder: &Path) {
    cli.output.result(&json!({ "offsets": all }), || {
        let mut text = String::new();
        for (partition, position) in all {
            let _ = writeln!(text, "{partition}  {position}");
        }
        if text.is_empty() {
            format!("no offsets in {}", folder.display())
        } else {
            text
        }
    });
}

/// Resets one partition; one that has no offset is a typing error.
fn reset(cli: &Cli, store: &OffsetStore, partitions: &[String]) -> Result<()> {
    for partition in partitions {
        if !store.all()?.contains_key(partition) {
            return Err(Error::config("OC0507", format!("there is no offset of a partition `{partition}`"))
                .hint("`offsets show` lists the partitions"));
        }
    }
    reset_all(cli, store, partitions)
}

fn reset_all(cli: &Cli, store: &OffsetStore, partitions: &[String]) -> Result<()> {
    for partition in partitions {
        store.reset(partition)?;
    }
    cli.output.result(&json!({ "reset": partitions }), || match partitions {
        [] => "no offsets".to_owned(),
        list => format!("reset: {}", list.join(", ")),
    });
    Ok(())
}
