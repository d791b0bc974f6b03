//! Publishes of one buffer, gathered by topic: they are handed to it together, and their answers are encoded beforehand and only
//! have to be appended once the commit is done.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::{Bytes, BytesMut};
use openconnect_protocol::frame::Command;

use super::acks::Confirmations;
use super::answer;
use super::committing::Committing;
use super::head::Head;
use super::outbox::Outbox;
use crate::log::topic::{LATCHED, Publish, Topic};
use crate::refusal::Refusal;

/// Publishes of one read, by topic.
#[derive(Default)]
pub(crate) struct Publishes {
    pub(super) open: Vec<Gathering>,
}

/// Publishes to one topic.
pub(super) struct Gathering {
    pub(super) topic: Arc<Topic>,
    buffer: BytesMut,
    entries: Vec<Bytes>,
    bytes: usize,
    pub(super) confirmations: Confirmations,
    /// Command and sequence number of each, for the case that they are refused.
    asked: Vec<(Command, Bytes)>,
    outbox: Arc<Outbox>,
    committing: Arc<Committing>,
    latch: Arc<AtomicBool>,
}

impl Publishes {
    pub(crate) fn send(&mut self) {
        for gathered in self.open.drain(..) {
            gathered.send();
        }
    }
}

impl Gathering {
    pub(super) fn new(
        topic: Arc<Topic>,
        confirmations: Confirmations,
        outbox: &Arc<Outbox>,
        committing: &Arc<Committing>,
        latch: &Arc<AtomicBool>,
    ) -> Self {
        Self {
            topic,
            buffer: BytesMut::with_capacity(4 << 10),
            entries: Vec::new(),
            bytes: 0,
            confirmations,
            asked: Vec::new(),
            outbox: Arc::clone(outbox),
            committing: Arc::clone(committing),
            latch: Arc::clone(latch),
        }
    }

    /// Adds a publish, which `encode` writes as an entry. `reply` and `header` are for the case that it is refused.
    pub(super) fn add(&mut self, reply: Command, header: &Bytes, encode: impl FnOnce(&mut BytesMut)) {
        let start = self.buffer.len();
        encode(&mut self.buffer);
        let bytes = self.buffer.len() - start;
        self.entries.push(self.buffer.split_to(bytes).freeze());
        self.bytes += bytes;
        self.asked.push((reply, header.clone()));
    }

    fn send(self) {
        let Self {
            topic,
            entries,
            bytes,
            confirmations,
            asked,
            outbox,
            committing,
            latch,
            ..
        } = self;
        committing.add(bytes);
        let done = Box::new(move |result: Result<(), Refusal>| {
            match result {
                Ok(()) => outbox.put(|out| confirmations.append_to(out)),
                Err(refusal) => outbox.put(|out| {
                    for (at, (cmd, header)) in asked.iter().enumerate() {
                        let seq = serde_json::from_slice::<Head<'_>>(header).map(|h| h.seq).unwrap_or_default();
                        if at > 0 && refusal.kind.may_pass() {
                            answer::refusal(*cmd, &Refusal::passing(LATCHED), &seq, out);
                        } else {
                            answer::refusal(*cmd, &refusal, &seq, out);
                        }
                    }
                }),
            }
            committing.done(bytes);
        });
        topic.publish(Publish {
            entries,
            bytes,
            latch: Some(latch),
            done,
        });
    }
}
