//! Questions in a topic of the mesh: for the `answers_source` example, and for new sources with an input until they have a system of
//! their own.
//!
//! The questions come over HTTP, through an HTTP source that nothing hits: what it has confirmed is in the topic. Each is to be
//! answered by [`ANSWERS`] events, or is one that has no answer and must become a dead letter.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::connector::Connector;
use crate::kit::{Kit, free_address};
use crate::mesh::Mesh;
use crate::oracle::{Sent, hash};
use crate::process::until;
use crate::prove::subject::{Input, Later, Produced};
use crate::prove::{KEYS, PADDING, PAUSE};
use crate::sender::{Load, Sender, data};

/// Answers to each question.
pub const ANSWERS: u64 = 3;
/// The topic of the questions.
const QUESTIONS: &str = "questions";
/// Every question of which number has no answer.
const NONE_EVERY: u64 = 5;
/// How long the HTTP source may take to stop.
const STOP: Duration = Duration::from_secs(10);

/// The settings of a source that takes the questions as its input.
pub fn settings() -> Value {
    json!({ "input": { "topic": QUESTIONS } })
}

/// As [`settings`]; the mesh is told when a question is in the inbox.
pub fn settings_by_inbox() -> Value {
    json!({ "input": { "topic": QUESTIONS, "acknowledge": "inbox" } })
}

struct Questions {
    binary: &'static str,
    section: Value,
    /// How they come into the topic.
    asking: Connector,
    address: SocketAddr,
    sender: Option<Sender>,
}

/// For the core's example `answers_source`.
pub fn input(kit: &Kit) -> Later<'_, Box<dyn Input>> {
    let section = json!({ "answers": ANSWERS, "late_every": 4, "busy_every": 7, "none_every": NONE_EVERY });
    of(kit, "examples/answers_source", section)
}

/// For a source that answers as the example does.
pub fn of<'k>(kit: &'k Kit, binary: &'static str, section: Value) -> Later<'k, Box<dyn Input>> {
    Box::pin(async move {
        let address = free_address()?;
        let url = format!("tcp://{}", Mesh::address_in(kit)?);
        let settings = json!({
            "mesh": { "url": url, "topic": QUESTIONS, "reconnect_max": "100ms", "heartbeat": "500ms", "request_timeout": "2s" },
            "source": { "listen": address },
        });
        Ok(Box::new(Questions {
            binary,
            section,
            asking: Connector::prepare(kit, "openconnect-http-source", "asking", settings)?,
            address,
            sender: None,
        }) as Box<dyn Input>)
    })
}

impl Input for Questions {
    fn binary(&self) -> &'static str {
        self.binary
    }

    fn section(&self) -> Value {
        self.section.clone()
    }

    fn start(&mut self) -> Later<'_, ()> {
        Box::pin(async {
            self.asking.run().await?;
            let load = Load {
                keys: KEYS,
                padding: PADDING,
                within: Duration::from_secs(2),
                pause: PAUSE * 4,
                ..Load::new(self.address)
            };
            self.sender = Some(Sender::start(&load, usize::MAX / 2));
            Ok(())
        })
    }

    fn confirmed(&self) -> usize {
        self.sender.as_ref().map_or(0, Sender::confirmed)
    }

    fn stop(&mut self) -> Later<'_, Produced> {
        Box::pin(async {
            let sender = self.sender.take().ok_or("it was never started")?;
            let sending = sender.stop().await;
            let asking = self.asking.process()?;
            asking.signal(Signal::TERM)?;
            let mut ended = false;
            until("the HTTP source ends", STOP, || {
                ended = ended || asking.ended().is_ok_and(|ended| ended.is_some());
                async move { ended.then_some(()) }
            })
            .await?;
            let mut produced = Produced::default();
            for question in sending.confirmed {
                if question.number % NONE_EVERY == 0 {
                    produced.refused.push(question);
                } else {
                    produced.confirmed.extend(answers(&question));
                }
            }
            for question in sending.open {
                produced.open.extend(answers(&question));
                produced.open.push(question);
            }
            Ok(produced)
        })
    }
}

/// What answers a question.
fn answers(question: &Sent) -> impl Iterator<Item = Sent> {
    let text = data(&question.key, question.number, PADDING);
    let of = hash(format!("/load\0{}", question.id).as_bytes());
    let id: String = of.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let (key, number) = (question.key.clone(), question.number);
    (0..ANSWERS).map(move |n| Sent {
        id: format!("{id}-{n}"),
        key: key.clone(),
        number: number * ANSWERS + n,
        hash: hash(format!(r#"{{"question":{text},"answer":{n}}}"#).as_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_answers_have_one_id() {
        let question = |number: u64| Sent {
            id: format!("k-{number}"),
            key: "k".to_owned(),
            number,
            hash: hash(b""),
        };
        let ids: HashSet<String> = (0..50)
            .map(question)
            .flat_map(|question| answers(&question).collect::<Vec<_>>())
            .map(|sent| sent.id)
            .collect();
        assert_eq!(ids.len() as u64, 50 * ANSWERS);
    }
}
