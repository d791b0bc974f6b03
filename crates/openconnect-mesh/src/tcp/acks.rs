//! Acknowledgements, both ways: one frame each, or one for many with a client that says `openconnectacks: many` in its HELLO.
//!
//! The frame for many has no `seq`, the property `openconnectacks: many`, and as body the sequence numbers: a JSON array of
//! texts. It acknowledges; refusals stay one frame each.

use bytes::BytesMut;
use openconnect_protocol::extension::{ACKS, MANY, acknowledged};
use openconnect_protocol::frame::Command;

use super::answer;
use crate::convert::json_text;

/// Confirmations of publishes, encoded beforehand.
pub(crate) enum Confirmations {
    Each(BytesMut),
    Many { cmd: Command, seqs: BytesMut },
}

/// What a confirmation of its own says of the event.
pub(crate) struct Confirmed<'a> {
    pub(crate) id: &'a str,
    pub(crate) source: &'a str,
    pub(crate) ty: &'a str,
    pub(crate) topic: &'a str,
}

impl Confirmations {
    pub(crate) fn new(many: bool) -> Self {
        if many {
            Self::Many {
                cmd: Command::AsyncMessageToServerAck,
                seqs: BytesMut::new(),
            }
        } else {
            Self::Each(BytesMut::new())
        }
    }

    pub(crate) fn add(&mut self, reply: Command, seq: &str, event: &Confirmed<'_>) {
        match self {
            Self::Each(out) => {
                let header = answer::header(reply, 0, Some("success"), seq, &[]);
                let mut body = BytesMut::with_capacity(160);
                for (name, value) in [
                    ("{\"id\":", event.id),
                    (",\"source\":", event.source),
                    (",\"type\":", event.ty),
                    (",\"subject\":", event.topic),
                ] {
                    body.extend_from_slice(name.as_bytes());
                    json_text(value, &mut body);
                }
                body.extend_from_slice(b"}");
                answer::append(&header, &body, out);
            }
            Self::Many { cmd, seqs } => {
                *cmd = reply;
                seqs.extend_from_slice(if seqs.is_empty() { b"[" } else { b"," });
                json_text(seq, seqs);
            }
        }
    }

    pub(crate) fn append_to(self, out: &mut BytesMut) {
        match self {
            Self::Each(frames) => out.extend_from_slice(&frames),
            Self::Many { seqs, .. } if seqs.is_empty() => {}
            Self::Many { cmd, mut seqs } => {
                seqs.extend_from_slice(b"]");
                let header = answer::header(cmd, 0, Some("success"), "", &[(ACKS, MANY)]);
                answer::append(&header, &seqs, out);
            }
        }
    }
}

/// The deliveries that a frame for many acknowledges; those that can't be any are left out.
pub(crate) fn delivered(body: &[u8]) -> Result<impl Iterator<Item = u64>, serde_json::Error> {
    Ok(acknowledged(body)?.into_iter().filter_map(|seq| seq.parse().ok()))
}
