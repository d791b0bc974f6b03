//! Events that can't be delivered: kept with their reason, shown, and replayed when the cause is gone.
//!
//! A dead letter is the event as it was, with the extensions `dlqreason`, `dlqcode`, `dlqattempts`, `dlqconnector` and
//! `dlqtime`; one of the events that a source has as its input has `dlqinput` too, the topic.
//!
//! | file | what is in it |
//! |---|---|
//! | `mod.rs` | marking, and the target: a mesh topic or a file |
//! | `file.rs` | the file: JSON lines, synced, rotated, nothing deleted |
//! | `archive.rs` | list, show, replay |
//! | `replay.rs` | the queue through which a sink gets events back |

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use chrono::{SecondsFormat, Utc};
use cloudevents::{Event, EventBuilder, EventBuilderV10};
use openconnect_protocol::{json, wire};

use crate::codes;
use crate::config::DeadLetterSettings;
use crate::error::Result;
use crate::failure::Failure;
use crate::mesh::Publisher;

pub mod archive;
mod file;
mod replay;

pub(crate) use replay::{ReplayQueue, ReplayToken};

/// Longest `dlqreason`.
const REASON: usize = 1024;
/// The type of a dead letter whose bytes are no event.
pub const UNREADABLE: &str = "org.apache.eventmesh.unreadable";

/// The extensions of a dead letter.
const MARKS: [&str; 6] = ["dlqreason", "dlqcode", "dlqattempts", "dlqconnector", "dlqtime", INPUT];
/// The topic of the input that it is of.
const INPUT: &str = "dlqinput";

/// The event with `dlqreason`, `dlqcode`, `dlqattempts`, `dlqconnector` and `dlqtime`, and with `dlqinput` where it is of an input.
fn mark(mut event: Event, failure: &Failure, attempts: u32, connector: &str, input: Option<&str>) -> Event {
    let reason: String = failure
        .reason()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(REASON)
        .collect();
    event.set_extension("dlqreason", reason);
    event.set_extension("dlqcode", failure.code.to_string());
    event.set_extension("dlqattempts", i64::from(attempts));
    event.set_extension("dlqconnector", connector);
    event.set_extension("dlqtime", Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true));
    match input {
        Some(topic) => event.set_extension(INPUT, topic),
        // It may have been a dead letter before.
        None => drop(event.remove_extension(INPUT)),
    }
    event
}

/// The event as it was before it became a dead letter.
pub fn unmark(mut event: Event) -> Event {
    for name in MARKS {
        event.remove_extension(name);
    }
    event
}

/// Where a connector's dead letters go.
pub struct DeadLetters {
    connector: &'static str,
    target: Target,
    /// The topic, for events of the input.
    input: Option<String>,
}

#[derive(Clone)]
enum Target {
    File(Arc<Mutex<file::LetterFile>>),
    Topic(String, Publisher),
}

impl DeadLetters {
    /// Opens the target: `dead_letter.topic` through `publisher`, else the file. A line that a crash left unfinished was
    /// never confirmed; it is closed off and skipped by readers.
    pub async fn open(settings: &DeadLetterSettings, state: &Path, connector: &'static str, publisher: Option<Publisher>) -> Result<Self> {
        let target = match (&settings.topic, publisher) {
            (Some(topic), Some(publisher)) => Target::Topic(topic.clone(), publisher),
            _ => {
                let (path, rotate) = (file::path(settings, state), file::rotate(settings));
                Target::File(Arc::new(Mutex::new(file::LetterFile::open(path, rotate)?)))
            }
        };
        Ok(Self {
            connector,
            target,
            input: None,
        })
    }

    /// At the same place, for events of the input, whose topic this is.
    pub(crate) fn of_input(&self, topic: &str) -> Self {
        Self {
            connector: self.connector,
            target: self.target.clone(),
            input: Some(topic.to_owned()),
        }
    }

    /// Writes a dead letter; it is durable when this returns `Ok`.
    ///
    /// An event that no receiver could read is the data of an event of type [`UNREADABLE`], as JSON as far as it goes.
    pub async fn put(&self, event: &Event, failure: &Failure, attempts: u32) -> Result<(), Failure> {
        let event = match openconnect_protocol::check(event) {
            Ok(()) => event.clone(),
            Err(_) => unreadable(&json::encode(event), self.connector)?,
        };
        let letter = mark(event, failure, attempts, self.connector, self.input.as_deref());
        match &self.target {
            Target::Topic(topic, publisher) => publisher.send(topic, None, &letter).await.await,
            Target::File(file) => {
                let (file, line) = (Arc::clone(file), json::encode(&letter));
                tokio::task::spawn_blocking(move || file.lock().unwrap_or_else(PoisonError::into_inner).append(line))
                    .await
                    .map_err(|e| Failure::retryable(codes::DEAD_LETTER_UNWRITTEN, "the write ended abnormally").because(e))?
            }
        }
    }

    /// Writes a dead letter for bytes of the mesh that are no event, or one that can't be handled: the event if it can be
    /// read, else the bytes as the data of an event of type [`UNREADABLE`].
    pub async fn put_unreadable(&self, raw: &Bytes, failure: &Failure, attempts: u32) -> Result<(), Failure> {
        match wire::decode(raw) {
            Ok(event) => self.put(&event, failure, attempts).await,
            Err(_) => {
                let event = unreadable(raw, self.connector)?;
                self.put(&event, failure, attempts).await
            }
        }
    }
}

fn unreadable(raw: &[u8], connector: &str) -> Result<Event, Failure> {
    EventBuilderV10::new()
        .id(uuid::Uuid::now_v7().to_string())
        .source(format!("/openconnect/{connector}"))
        .ty(UNREADABLE)
        .data("application/octet-stream", raw.to_vec())
        .build()
        .map_err(|e| Failure::permanent(codes::DEAD_LETTER_UNWRITTEN, "unreadable bytes can't be made a dead letter").because(e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::codes::tests::TARGET_REFUSES;
    use crate::dead_letter::archive::letters;
    use openconnect_protocol::payload;

    fn event(id: &str) -> Event {
        EventBuilderV10::new()
            .id(id)
            .source("/s")
            .ty("t")
            .data("application/json", "{\"n\":1.50}".to_owned())
            .build()
            .unwrap()
    }

    #[tokio::test]
    async fn a_letter_is_read_back_with_its_reason_and_an_unfinished_line_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let settings = DeadLetterSettings::default();
        let failure = Failure::permanent(TARGET_REFUSES, "no such\npath");
        let letters_of = || letters(&settings, dir.path()).unwrap();
        let target = DeadLetters::open(&settings, dir.path(), "http-sink", None).await.unwrap();
        target.put(&event("1"), &failure, 3).await.unwrap();
        drop(target);
        let path = dir.path().join("dead-letters.jsonl");
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend_from_slice(b"{\"specversion\":\"1.0\",\"id\":\"to");
        std::fs::write(&path, torn).unwrap();
        let target = DeadLetters::open(&settings, dir.path(), "http-sink", None).await.unwrap();
        target
            .put_unreadable(&Bytes::from_static(b"\xffnot an event"), &failure, 0)
            .await
            .unwrap();
        let found = letters_of();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].event.extension("dlqreason").unwrap().to_string(), "no such path");
        assert_eq!(payload::json(&unmark(found[0].event.clone())).unwrap(), "{\"n\":1.50}");
        assert_eq!(payload::bytes(&found[1].event).unwrap().as_ref(), b"\xffnot an event");
    }

    /// An event that no receiver reads keeps its data, and its reason.
    #[tokio::test]
    async fn a_letter_that_cannot_be_written_as_it_is_holds_the_event_as_data() {
        let dir = tempfile::tempdir().unwrap();
        let settings = DeadLetterSettings::default();
        let target = DeadLetters::open(&settings, dir.path(), "http-source", None).await.unwrap();
        let mut nameless = event("1");
        cloudevents::AttributesWriter::set_id(&mut nameless, "");
        let failure = Failure::permanent(TARGET_REFUSES, "the attribute `id` is empty");
        target.put(&nameless, &failure, 1).await.unwrap();
        let found = letters(&settings, dir.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(cloudevents::AttributesReader::ty(&found[0].event), UNREADABLE);
        assert_eq!(
            found[0].event.extension("dlqreason").unwrap().to_string(),
            "the attribute `id` is empty"
        );
        let data = payload::bytes(&found[0].event).unwrap();
        assert!(String::from_utf8_lossy(&data).contains("{\"n\":1.50}"), "{data:?}");
    }

    #[tokio::test]
    async fn the_file_is_rotated_and_all_of_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let settings = DeadLetterSettings {
            rotate: crate::bytes_size::ByteSize(300),
            ..Default::default()
        };
        let target = DeadLetters::open(&settings, dir.path(), "http-sink", None).await.unwrap();
        for id in 0..5 {
            target
                .put(&event(&id.to_string()), &Failure::permanent(TARGET_REFUSES, "y"), 1)
                .await
                .unwrap();
        }
        let ids: Vec<String> = letters(&settings, dir.path())
            .unwrap()
            .iter()
            .map(|letter| cloudevents::AttributesReader::id(&letter.event).to_owned())
            .collect();
        assert_eq!(ids, ["0", "1", "2", "3", "4"]);
        assert!(std::fs::read_dir(dir.path()).unwrap().count() > 1);
    }
}
