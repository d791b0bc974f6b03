//! `offsets show|set|reset`: where a source resumes.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::OffsetsCommand;
use super::{Cli, Connector, runtime};
use crate::config::{Section, Settings};
use crate::error::{Error, Exit, Result};
use crate::offsets::{self, Acquired, OffsetStore, Positions, lease_lost};
use crate::state::StateDir;

/// How long a change may take; a connector that starts meanwhile waits for it.
const LEASE: Duration = Duration::from_secs(30);

pub(crate) fn offsets<C: Connector>(cli: &Cli, command: &OffsetsCommand) -> Result<Exit> {
    if C::SECTION == Section::Sink {
        return Err(
            Error::config("OC0505", "a sink has no offsets: the mesh knows where its consumer group is")
                .hint("`dead-letters list` shows what this sink could not deliver"),
        );
    }
    let settings = cli.load::<C>()?.settings;
    runtime()?.block_on(execute::<C>(cli, command, &settings))?;
    Ok(Exit::Clean)
}

async fn execute<C: Connector>(cli: &Cli, command: &OffsetsCommand, settings: &Settings) -> Result<()> {
    let folder = StateDir::path_of(&settings.state, &settings.name);
    let in_file = settings.state.offsets.is_none();
    if let (OffsetsCommand::Show, true, false) = (command, in_file, folder.join("offsets.redb").exists()) {
        // Looking makes no state.
        show(cli, &Positions::new(), &folder.display().to_string());
        return Ok(());
    }
    // A running connector would write its own offsets over these: it holds the folder, or in a database the lease.
    let _state = if in_file { Some(StateDir::open(settings, C::NAME)?) } else { None };
    let store = offsets::open(settings, C::NAME, &folder, cli.shared_offsets).await?;
    match command {
        OffsetsCommand::Show => show(cli, &store.all().await?, store.place()),
        OffsetsCommand::Set { partition, position } => {
            let position: Value = serde_json::from_str(position).map_err(|e| {
                Error::config("OC0506", format!("the position is not JSON: {e}"))
                    .hint("write it as `offsets show` prints it, in single quotes for the shell")
            })?;
            set(&store, partition, &position).await?;
            cli.output.result(&json!({ "set": { partition: position } }), || {
                format!("{partition} is at {position}")
            });
        }
        OffsetsCommand::Reset { partition, .. } => {
            let reset = reset(&store, partition.as_deref()).await?;
            cli.output.result(&json!({ "reset": reset }), || match reset.as_slice() {
                [] => "no offsets".to_owned(),
                list => format!("reset: {}", list.join(", ")),
            });
        }
    }
    Ok(())
}

fn show(cli: &Cli, all: &Positions, place: &str) {
    cli.output.result(&json!({ "offsets": all }), || {
        let mut text = String::new();
        for (partition, position) in all {
            let _ = writeln!(text, "{partition}  {position}");
        }
        if text.is_empty() { format!("no offsets in {place}") } else { text }
    });
}

async fn set(store: &Arc<dyn OffsetStore>, partition: &str, position: &Value) -> Result<()> {
    let fence = acquire(store).await?;
    if !store.commit(&[(partition.to_owned(), position.clone())], fence).await? {
        return Err(lease_lost(store.place()));
    }
    store.release(fence).await
}

/// Resets one partition, or all; says which. One that has no offset is a typing error.
async fn reset(store: &Arc<dyn OffsetStore>, partition: Option<&str>) -> Result<Vec<String>> {
    let all = store.all().await?;
    let partitions: Vec<String> = match partition {
        None => all.into_keys().collect(),
        Some(one) if all.contains_key(one) => vec![one.to_owned()],
        Some(one) => {
            return Err(
                Error::config("OC0507", format!("there is no offset of a partition `{one}`")).hint("`offsets show` lists the partitions")
            );
        }
    };
    let fence = acquire(store).await?;
    for partition in &partitions {
        store.reset(partition, fence).await?;
    }
    store.release(fence).await?;
    Ok(partitions)
}

async fn acquire(store: &Arc<dyn OffsetStore>) -> Result<offsets::Fence> {
    let owner = format!("offsets command {}", uuid::Uuid::new_v4());
    match store.acquire(&owner, LEASE).await? {
        Acquired::Granted(fence) => Ok(fence),
        Acquired::Held { owner, .. } => Err(Error::unavailable(
            "OC0214",
            format!("the offsets in {} are in use by {owner}", store.place()),
        )
        .hint("Stop all processes of this instance; after a kill its lease ends by itself within state.lease_ttl.")),
    }
}
