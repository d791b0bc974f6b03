//! `offsets show|set|reset`: where a source resumes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use openconnect_error::codes::TASK_ENDED;
use serde_json::{Value, json};

use super::args::OffsetsCommand;
use super::{Cli, runtime};
use crate::codes;
use crate::config::{Loaded, Settings};
use crate::error::{BoxError, Error, Exit, Result};
use crate::offsets::{self, Acquired, OffsetStore, Positions, lease_lost};
use crate::record::{Partition, Position};
use crate::source::{OffsetKeeper, Source, UpstreamOffsets};
use crate::state::StateDir;

/// How long a change may take; a connector that starts meanwhile waits for it.
const LEASE: Duration = Duration::from_secs(30);

pub(crate) fn offsets<S: Source>(cli: &Cli, command: &OffsetsCommand, loaded: Loaded<S::Config>) -> Result<Exit> {
    let settings = loaded.settings;
    runtime()?.block_on(async {
        match S::profile(&loaded.connector).offsets {
            OffsetKeeper::Core | OffsetKeeper::Nobody => of_core::<S>(cli, command, &settings).await,
            OffsetKeeper::Upstream => {
                let place = "the system that is read";
                let offsets = S::upstream_offsets(loaded.connector, &settings.name).await?;
                execute(cli, command, place, &mut Upstream::new(offsets)).await
            }
        }
    })?;
    Ok(Exit::Clean)
}

async fn of_core<S: Source>(cli: &Cli, command: &OffsetsCommand, settings: &Settings) -> Result<()> {
    let folder = StateDir::path_of(&settings.state, &settings.name);
    let in_file = settings.state.offsets.is_none();
    if let (OffsetsCommand::Show, true, false) = (command, in_file, folder.join("offsets.redb").exists()) {
        // Looking makes no state.
        show(cli, &Positions::new(), &folder.display().to_string());
        return Ok(());
    }
    // A running connector would write its own offsets over these: it holds the folder, or in a database the lease.
    let _state = if in_file { Some(StateDir::open(settings, S::NAME)?) } else { None };
    let store = offsets::open(settings, S::NAME, &folder, cli.shared_offsets).await?;
    execute(cli, command, store.place(), &mut Stored(Arc::clone(&store))).await
}

async fn execute(cli: &Cli, command: &OffsetsCommand, place: &str, offsets: &mut impl Offsets) -> Result<()> {
    match command {
        OffsetsCommand::Show => show(cli, &offsets.all().await?, place),
        OffsetsCommand::Set { partition, position } => {
            let position: Value = serde_json::from_str(position).map_err(|e| wrong_position("is not JSON", e))?;
            offsets.set(partition, &position).await?;
            cli.output.result(&json!({ "set": { partition: position } }), || {
                format!("{partition} is at {position}")
            });
        }
        OffsetsCommand::Reset { partition, .. } => {
            let partitions = to_reset(&offsets.all().await?, partition.as_deref())?;
            offsets.reset(&partitions).await?;
            cli.output.result(&json!({ "reset": partitions }), || match partitions.as_slice() {
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

/// One partition, or all. One that has no offset is a typing error.
fn to_reset(all: &Positions, partition: Option<&str>) -> Result<Vec<String>> {
    match partition {
        None => Ok(all.keys().cloned().collect()),
        Some(one) if all.contains_key(one) => Ok(vec![one.to_owned()]),
        Some(one) => Err(
            Error::config(codes::NO_SUCH_PARTITION, format!("there is no offset of a partition `{one}`"))
                .hint("`offsets show` lists the partitions"),
        ),
    }
}

fn wrong_position(what: &str, cause: impl Into<BoxError>) -> Error {
    Error::config(codes::POSITION_NOT_JSON, format!("the position {what}"))
        .because(cause)
        .hint("write it as `offsets show` prints it, in single quotes for the shell")
}

/// Offsets as the commands see them, wherever they are.
trait Offsets {
    async fn all(&mut self) -> Result<Positions>;
    async fn set(&mut self, partition: &str, position: &Value) -> Result<()>;
    /// Forgets these partitions' positions, which `all` has named.
    async fn reset(&mut self, partitions: &[String]) -> Result<()>;
}

/// Offsets that the core keeps; changed under the lease.
struct Stored(Arc<dyn OffsetStore>);

impl Stored {
    async fn acquire(&self) -> Result<offsets::Fence> {
        let owner = format!("offsets command {}", uuid::Uuid::new_v4());
        match self.0.acquire(&owner, LEASE).await? {
            Acquired::Granted(fence) => Ok(fence),
            Acquired::Held { owner, .. } => Err(Error::unavailable(
                codes::OFFSETS_IN_USE,
                format!("the offsets in {} are in use by {owner}", self.0.place()),
            )
            .hint("Stop all processes of this instance; after a kill its lease ends by itself within state.lease_ttl.")),
        }
    }
}

impl Offsets for Stored {
    async fn all(&mut self) -> Result<Positions> {
        self.0.all().await
    }

    async fn set(&mut self, partition: &str, position: &Value) -> Result<()> {
        let fence = self.acquire().await?;
        if !self.0.commit(&[(partition.to_owned(), position.clone())], fence).await? {
            return Err(lease_lost(self.0.place()));
        }
        self.0.release(fence).await
    }

    async fn reset(&mut self, partitions: &[String]) -> Result<()> {
        let fence = self.acquire().await?;
        for partition in partitions {
            self.0.reset(partition, fence).await?;
        }
        self.0.release(fence).await
    }
}

/// Offsets that the system keeps; changed while it has no member.
struct Upstream<P, O> {
    offsets: O,
    position: std::marker::PhantomData<P>,
}

impl<P: Position, O: UpstreamOffsets<P>> Upstream<P, O> {
    fn new(offsets: O) -> Self {
        Self {
            offsets,
            position: std::marker::PhantomData,
        }
    }

    async fn refuse_while_read(&mut self) -> Result<()> {
        let members = self.offsets.members().await?;
        match members.is_empty() {
            true => Ok(()),
            false => Err(
                Error::unavailable(codes::UPSTREAM_IN_USE, format!("the offsets are in use by {}", members.join(", ")))
                    .hint("Stop all processes of this instance; after a kill the system forgets a member by itself."),
            ),
        }
    }
}

impl<P: Position, O: UpstreamOffsets<P>> Offsets for Upstream<P, O> {
    async fn all(&mut self) -> Result<Positions> {
        let all: BTreeMap<Partition, P> = self.offsets.all().await?;
        let json = all.into_iter().map(|(partition, position)| {
            let position =
                serde_json::to_value(position).map_err(|e| Error::unavailable(TASK_ENDED, "a position can't be made JSON").because(e))?;
            Ok((partition.as_str().to_owned(), position))
        });
        json.collect()
    }

    async fn set(&mut self, partition: &str, position: &Value) -> Result<()> {
        let position = P::deserialize(position).map_err(|e| wrong_position("is not one of this source", e))?;
        self.refuse_while_read().await?;
        self.offsets.set(&Partition::new(partition), &position).await
    }

    async fn reset(&mut self, partitions: &[String]) -> Result<()> {
        self.refuse_while_read().await?;
        for partition in partitions {
            self.offsets.reset(&Partition::new(partition.as_str())).await?;
        }
        Ok(())
    }
}
