//! One entry of a topic's log: kind, flags, request (when it is one), ordering key, and the event as it was published.

use bytes::{BufMut, Bytes, BytesMut};

/// In which form the event was published, and is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A structured CloudEvent, JSON.
    CloudEvent,
    /// EventMesh's older message, JSON.
    Message,
    /// EventMesh's gRPC message, protobuf.
    Grpc,
}

/// A request that somebody of this very server run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) run: u64,
    pub(crate) id: u64,
    pub(crate) deadline_ms: u64,
}

const REQUEST: u8 = 1;

/// Appends an entry to `out`.
pub(crate) fn encode(kind: Kind, request: Option<Request>, key: &str, body: &[u8], out: &mut BytesMut) {
    // A longer key still orders correctly with everything else that shares its beginning.
    let key = key.as_bytes();
    let key = key.get(..usize::from(u16::MAX)).unwrap_or(key);
    out.reserve(28 + key.len() + body.len());
    out.put_u8(match kind {
        Kind::CloudEvent => 0,
        Kind::Message => 1,
        Kind::Grpc => 2,
    });
    out.put_u8(if request.is_some() { REQUEST } else { 0 });
    if let Some(request) = request {
        out.put_u64(request.run);
        out.put_u64(request.id);
        out.put_u64(request.deadline_ms);
    }
    out.put_u16(u16::try_from(key.len()).unwrap_or(u16::MAX));
    out.put_slice(key);
    out.put_slice(body);
}

/// An entry, taken apart without copying.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) request: Option<Request>,
    pub(crate) key: Bytes,
    pub(crate) body: Bytes,
}

impl Record {
    /// `None` when the bytes are not an entry of this format.
    pub(crate) fn parse(mut bytes: Bytes) -> Option<Self> {
        let kind = match *bytes.first()? {
            0 => Kind::CloudEvent,
            1 => Kind::Message,
            2 => Kind::Grpc,
            _ => return None,
        };
        let flags = *bytes.get(1)?;
        let mut at = 2;
        let mut number = || {
            let value = u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?);
            at += 8;
            Some(value)
        };
        let request = if flags & REQUEST != 0 {
            Some(Request {
                run: number()?,
                id: number()?,
                deadline_ms: number()?,
            })
        } else {
            None
        };
        let key_len = usize::from(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        at += 2;
        if bytes.len() < at + key_len {
            return None;
        }
        let mut key = bytes.split_off(at);
        let body = key.split_off(key_len);
        Some(Self { kind, request, key, body })
    }
}
