//! `dead-letters list|show|replay`: reads the file or the topic.
//!
//! A topic is read in the consumer group `<group>-dead-letters`. Listing acknowledges nothing, so that a mesh that redelivers
//! shows the same letters again; EventMesh 1.x forgets them for that group.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cloudevents::event::ExtensionValue;
use cloudevents::{AttributesReader, Event};
use openconnect_protocol::{json, wire};
use tokio_util::sync::CancellationToken;

use super::{INPUT, ReplayQueue, file, unmark};
use crate::budget::Budget;
use crate::codes;
use crate::config::{DeadLetterSettings, MeshSettings, Settings};
use crate::error::{Error, Result};
use crate::mesh::{Ack, Publisher, Subscriber};
use crate::state::{StateDir, input_folder};

/// Most letters that one command looks at.
const MOST: usize = 100_000;
/// A topic that gives nothing for so long is read to its end.
const QUIET: Duration = Duration::from_millis(1500);
/// How long a server may take to answer.
const CONNECT: Duration = Duration::from_secs(10);

/// One dead letter.
pub struct Letter {
    /// Its number in the list, from 1.
    pub number: usize,
    /// The event, with its `dlq…` extensions.
    pub event: Event,
    /// Was it handed back already?
    pub replayed: bool,
    ack: Option<Ack>,
}

impl Letter {
    /// A `dlq…` extension as text; empty when absent.
    pub fn about(&self, name: &str) -> String {
        self.event.extension(name).map(ToString::to_string).unwrap_or_default()
    }

    /// The topic of the input that it is of; none for what a source emitted, and for a sink's.
    pub fn input(&self) -> Option<String> {
        self.event.extension(INPUT).map(ToString::to_string)
    }

    /// What distinguishes it from every other letter.
    fn identity(&self) -> String {
        let time = self.event.extension("dlqtime").map(ExtensionValue::to_string).unwrap_or_default();
        serde_json::json!([self.event.source(), self.event.id(), time]).to_string()
    }
}

/// The letters of the file in an instance's folder, oldest first. Lines that are no event are skipped with a warning.
pub fn letters(settings: &DeadLetterSettings, state: &Path) -> Result<Vec<Letter>> {
    let path = file::path(settings, state);
    let replayed = read_replayed(&path);
    let mut letters = Vec::new();
    for file in file::all(&path) {
        let unreadable =
            |e: std::io::Error| Error::unavailable(codes::DEAD_LETTERS_UNUSABLE, format!("{} can't be read", file.display())).because(e);
        for line in BufReader::new(File::open(&file).map_err(unreadable)?).split(b'\n') {
            let line = line.map_err(unreadable)?;
            match json::decode(&line) {
                Ok(event) => letters.push(Letter {
                    number: letters.len() + 1,
                    event,
                    replayed: false,
                    ack: None,
                }),
                Err(e) => tracing::warn!(file = %file.display(), "skipped a line that is no event: {e}"),
            }
            if letters.len() >= MOST {
                return Err(
                    Error::unavailable(codes::TOO_MANY_TO_LIST, format!("there are more than {MOST} dead letters"))
                        .hint("Move the older files away and come back to them later."),
                );
            }
        }
    }
    for letter in &mut letters {
        letter.replayed = replayed.contains(&letter.identity());
    }
    Ok(letters)
}

fn replayed_path(path: &Path) -> PathBuf {
    path.with_extension("replayed")
}

fn read_replayed(path: &Path) -> HashSet<String> {
    fs::read_to_string(replayed_path(path))
        .map(|text| text.lines().map(str::to_owned).collect())
        .unwrap_or_default()
}

fn note_replayed(path: &Path, letters: &[Letter]) -> Result<()> {
    let path = replayed_path(path);
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        let lines: String = letters.iter().map(|letter| letter.identity() + "\n").collect();
        file.write_all(lines.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|e| {
        Error::unavailable(
            codes::DEAD_LETTERS_UNUSABLE,
            format!("{} can't be written; these letters will be shown as not replayed", path.display()),
        )
        .because(e)
    })
}

/// The letters of an instance, from wherever they go. A topic needs its mesh to be there.
pub async fn list(settings: &Settings) -> Result<Vec<Letter>> {
    match &settings.dead_letter.topic {
        None => letters(&settings.dead_letter, &StateDir::path_of(&settings.state, &settings.name)),
        Some(topic) => {
            let (letters, subscriber) = from_topic(settings, topic).await?;
            let letters = letters.into_iter().map(|letter| Letter { ack: None, ..letter }).collect();
            subscriber.close().await;
            Ok(letters)
        }
    }
}

async fn from_topic(settings: &Settings, topic: &str) -> Result<(Vec<Letter>, Subscriber)> {
    let mesh = MeshSettings {
        topic: topic.to_owned(),
        ..settings.mesh.clone()
    };
    let group = format!("{}-dead-letters", crate::engine::group(settings));
    let connecting = Subscriber::connect(&mesh, &group, Budget::with_bytes(16 << 20), CancellationToken::new());
    let mut subscriber = tokio::time::timeout(CONNECT, connecting).await.map_err(|_| unreachable_mesh())??;
    let mut letters = Vec::new();
    let mut deliveries = Vec::new();
    while letters.len() < MOST {
        match tokio::time::timeout(QUIET, subscriber.recv(&mut deliveries, 256)).await {
            Err(_) => break,
            Ok(Err(failure)) => {
                return Err(Error::unavailable(codes::MESH_CLOSED, "the dead letters can't be read from the mesh").because(failure));
            }
            Ok(Ok(_)) => {}
        }
        for delivery in deliveries.drain(..) {
            match wire::decode(&delivery.raw) {
                Ok(event) => letters.push(Letter {
                    number: letters.len() + 1,
                    event,
                    replayed: false,
                    ack: Some(delivery.ack),
                }),
                Err(e) => tracing::warn!("skipped a delivery that is no event: {e}"),
            }
        }
    }
    Ok((letters, subscriber))
}

fn unreachable_mesh() -> Error {
    Error::unavailable(codes::MESH_UNREACHABLE, format!("the mesh did not answer within {CONNECT:?}"))
}

/// Which letters to replay.
pub enum Which {
    /// All that were not replayed yet.
    All,
    /// These, by number or id.
    These(Vec<String>),
}

impl Which {
    fn matches(&self, letter: &Letter) -> bool {
        match self {
            Self::All => !letter.replayed,
            Self::These(names) => names
                .iter()
                .any(|name| *name == letter.number.to_string() || name == letter.event.id()),
        }
    }
}

/// Where replayed letters went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// To the sink itself, or to the input of the source.
    pub handed_back: usize,
    /// To the topic of the source.
    pub published: usize,
}

/// Hands letters back: a sink's to the sink itself (running or not), those of a source's input to the source, and what it had emitted
/// to the mesh. They are safe there when this returns.
pub async fn replay(settings: &Settings, sink: bool, which: &Which) -> Result<Replayed> {
    let state = StateDir::path_of(&settings.state, &settings.name);
    let (all, subscriber) = match &settings.dead_letter.topic {
        None => (letters(&settings.dead_letter, &state)?, None),
        Some(topic) => {
            let (letters, subscriber) = from_topic(settings, topic).await?;
            (letters, Some(subscriber))
        }
    };
    let chosen: Vec<Letter> = all.into_iter().filter(|letter| which.matches(letter)).collect();
    if let Which::These(names) = which
        && chosen.len() < names.len()
    {
        return Err(
            Error::config(codes::NO_SUCH_DEAD_LETTER, "not every number or id names a dead letter").hint("Look with `dead-letters list`."),
        );
    }
    let (taken_in, emitted): (Vec<&Letter>, Vec<&Letter>) = chosen.iter().partition(|letter| sink || letter.input().is_some());
    let plain = |letters: Vec<&Letter>| -> Vec<Event> { letters.into_iter().map(|letter| unmark(letter.event.clone())).collect() };
    let (taken_in, emitted) = (plain(taken_in), plain(emitted));
    if !taken_in.is_empty() {
        if !sink && settings.input.is_none() {
            return Err(Error::config(
                codes::INPUT_MISSING,
                "dead letters of an input can't be handed back: there is no `input`",
            )
            .hint("Set `input`, or choose others by their numbers."));
        }
        let folder = if sink { state.clone() } else { input_folder(&state) };
        ReplayQueue::put(&folder, &taken_in)?;
    }
    if !emitted.is_empty() {
        publish(settings, &emitted).await?;
    }
    let replayed = Replayed {
        handed_back: taken_in.len(),
        published: emitted.len(),
    };
    match subscriber {
        Some(subscriber) => {
            chosen.into_iter().filter_map(|letter| letter.ack).for_each(Ack::ack);
            subscriber.close().await;
        }
        None => note_replayed(&file::path(&settings.dead_letter, &state), &chosen)?,
    }
    Ok(replayed)
}

async fn publish(settings: &Settings, events: &[Event]) -> Result<()> {
    let connecting = Publisher::connect(&settings.mesh, crate::engine::group(settings), CancellationToken::new());
    let publisher = tokio::time::timeout(CONNECT, connecting).await.map_err(|_| unreachable_mesh())??;
    for event in events {
        let published = publisher.send(&settings.mesh.topic, None, event).await;
        tokio::time::timeout(CONNECT, published)
            .await
            .map_err(|_| unreachable_mesh())?
            .map_err(|failure| {
                Error::undelivered(codes::DEAD_LETTER_UNPUBLISHED, format!("`{}` could not be published", event.id())).because(failure)
            })?;
    }
    publisher.close().await;
    Ok(())
}
