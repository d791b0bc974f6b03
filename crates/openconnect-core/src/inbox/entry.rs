//! The bytes of one entry of the journal.
//!
//! | first byte | what follows |
//! |---|---|
//! | 0 | the event, as the mesh carries it |
//! | 1 | length (4 bytes) and text of the reason, then what the mesh could not read |
//! | 2 | a [`Header`] (32 bytes), then one of the above |
//!
//! Numbers are big-endian. Staging sinks and sources with a spool have headers; sinks that write each event by itself do not.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use cloudevents::{AttributesReader, Event};
use ring::digest::{Context, SHA256};

const EVENT: u8 = 0;
const UNREADABLE: u8 = 1;
const HEADED: u8 = 2;
const HEADER_BYTES: usize = 32;

/// Tells one event from another: a hash of its `source` and `id`.
pub(super) type Identity = [u8; 16];

/// The identity of an event. A replayed event has one of its own for each replay (`scope`): it was taken before, and is
/// wanted again.
pub(super) fn identity(event: &Event, scope: &str) -> Identity {
    let mut hash = Context::new(&SHA256);
    for part in [event.source().as_str(), event.id(), scope] {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finish();
    let mut identity = Identity::default();
    identity.copy_from_slice(digest.as_ref().get(..16).unwrap_or(&[0; 16]));
    identity
}

/// One entry: an event as the mesh delivered it, or something that the mesh could not read.
#[derive(Debug)]
pub(crate) struct Stored<'a> {
    pub(crate) raw: &'a [u8],
    pub(crate) unreadable: Option<Cow<'a, str>>,
}

impl<'a> Stored<'a> {
    pub(super) fn encode(raw: &[u8], unreadable: Option<&str>, out: &mut BytesMut) {
        out.reserve(raw.len() + 5 + unreadable.map_or(0, str::len));
        match unreadable {
            None => out.put_u8(EVENT),
            Some(reason) => {
                out.put_u8(UNREADABLE);
                out.put_u32(u32::try_from(reason.len()).unwrap_or(u32::MAX));
                out.put_slice(reason.as_bytes());
            }
        }
        out.put_slice(raw);
    }

    /// Reads an entry without its header.
    pub(super) fn decode(entry: &'a [u8]) -> Self {
        if let Some((&[UNREADABLE, a, b, c, d], rest)) = entry.split_first_chunk() {
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            let (reason, raw) = rest.split_at(length.min(rest.len()));
            return Self {
                raw,
                unreadable: Some(String::from_utf8_lossy(reason)),
            };
        }
        Self {
            raw: entry.split_first().map_or(entry, |(_, raw)| raw),
            unreadable: None,
        }
    }
}

/// What an inbox knows of an entry beside the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// When it arrived, in ms since the epoch.
    pub(super) arrived_ms: u64,
    /// The entry of which this is a copy; none for an original, whose sequence is its index.
    pub(super) copy_of: Option<u64>,
    /// None for what is no event, and where repeats are not dropped.
    pub(super) identity: Option<Identity>,
}

impl Header {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u8(HEADED);
        out.put_u64(self.arrived_ms);
        out.put_u64(self.copy_of.unwrap_or(0));
        out.put_slice(&self.identity.unwrap_or_default());
    }

    /// The header, if the entry has one, and the rest.
    pub(super) fn split(entry: &[u8]) -> (Option<Self>, &[u8]) {
        let Some((&HEADED, rest)) = entry.split_first() else {
            return (None, entry);
        };
        let Some((header, rest)) = rest.split_first_chunk::<HEADER_BYTES>() else {
            return (None, entry);
        };
        let number = |at: usize| header.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes);
        let mut identity = Identity::default();
        identity.copy_from_slice(header.get(16..).unwrap_or(&[0; 16]));
        let header = Self {
            arrived_ms: number(0),
            copy_of: Some(number(8)).filter(|sequence| *sequence > 0),
            identity: Some(identity).filter(|identity| *identity != Identity::default()),
        };
        (Some(header), rest)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_entry_is_read_with_and_without_header() {
        let mut plain = BytesMut::new();
        Stored::encode(b"{}", Some("why"), &mut plain);
        let (none, rest) = Header::split(&plain);
        assert_eq!(none, None);
        let stored = Stored::decode(rest);
        assert_eq!((stored.raw, stored.unreadable.as_deref()), (b"{}".as_slice(), Some("why")));

        let header = Header {
            arrived_ms: 1_700_000_000_000,
            copy_of: Some(7),
            identity: Some([3; 16]),
        };
        let mut headed = BytesMut::new();
        header.encode(&mut headed);
        Stored::encode(b"{\"a\":1}", None, &mut headed);
        let (found, rest) = Header::split(&headed);
        assert_eq!(found, Some(header));
        assert_eq!(Stored::decode(rest).raw, b"{\"a\":1}");
    }
}
