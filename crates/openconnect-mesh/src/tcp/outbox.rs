//! What goes out on a connection: answers and pushes are encoded into one buffer, which the session writes as a whole.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::{BufMut, BytesMut};
use openconnect_protocol::frame::Command;
use tokio::sync::Notify;

use super::answer;
use crate::asking::Asking;
use crate::clock::now_ms;
use crate::convert::Form;
use crate::group::{Delivery, Outlet};
use crate::lock::locked;
use crate::log::record::Kind;
use crate::refusal::Refusal;

/// Pushes stop above this; answers may go on.
const PUSH_LIMIT: usize = 1 << 20;
/// Nothing is read from the client above this: somebody who does not read answers gets no more of them.
const READ_LIMIT: usize = 4 << 20;
/// A buffer is kept between writes up to this size.
const KEEP: usize = 256 << 10;

#[derive(Default)]
pub(crate) struct Outbox {
    buffer: Mutex<BytesMut>,
    filled: AtomicUsize,
    pub(crate) changed: Notify,
    /// A group found no room and waits to be woken.
    starved: AtomicBool,
    pub(crate) drained: Notify,
}

impl Outbox {
    /// Appends with `f`, and has it written.
    pub(crate) fn put(&self, f: impl FnOnce(&mut BytesMut)) {
        let mut buffer = locked(&self.buffer);
        let was_empty = buffer.is_empty();
        f(&mut buffer);
        self.filled.store(buffer.len(), Ordering::Release);
        drop(buffer);
        if was_empty {
            self.changed.notify_one();
        }
    }

    /// Answers that it is done.
    pub(crate) fn succeed(&self, cmd: Command, seq: &str) {
        self.put(|out| answer::answer(cmd, 0, "success", seq, out));
    }

    /// Answers with a refusal.
    pub(crate) fn refuse(&self, cmd: Command, refusal: &Refusal, seq: &str) {
        self.put(|out| answer::refusal(cmd, refusal, seq, out));
    }

    /// Takes everything, giving an empty buffer for what comes next.
    pub(crate) fn take(&self, spare: &mut BytesMut) {
        spare.clear();
        if spare.capacity() > KEEP {
            *spare = BytesMut::new();
        }
        let mut buffer = locked(&self.buffer);
        std::mem::swap(&mut *buffer, spare);
        self.filled.store(0, Ordering::Release);
    }

    /// Waits until the client has taken so many of its answers that it may ask for more.
    pub(crate) async fn room(&self) {
        while self.filled.load(Ordering::Acquire) >= READ_LIMIT {
            self.drained.notified().await;
        }
    }

    fn may_push(&self) -> bool {
        if self.filled.load(Ordering::Acquire) < PUSH_LIMIT {
            return true;
        }
        self.starved.store(true, Ordering::SeqCst);
        // It may have been written between the two.
        self.filled.load(Ordering::SeqCst) < PUSH_LIMIT
    }

    /// Whether a group must be woken now that there is room.
    pub(crate) fn was_starved(&self) -> bool {
        self.starved.swap(false, Ordering::SeqCst)
    }
}

/// One subscription of a TCP session, as its group sees it.
pub(crate) struct Push {
    pub(crate) outbox: std::sync::Arc<Outbox>,
    pub(crate) asking: std::sync::Arc<Asking>,
    pub(crate) command: Command,
    pub(crate) holds: bool,
    /// `,"rsp0sys":…` and so on: what every push to this session carries, unless its client does without.
    pub(crate) stamp: Option<std::sync::Arc<[u8]>>,
}

impl Outlet for Push {
    fn ready(&self) -> bool {
        self.outbox.may_push()
    }

    fn holds(&self) -> bool {
        self.holds
    }

    fn deliver(&self, delivery: &Delivery<'_>) {
        let record = delivery.record;
        let form = Form {
            kind: record.kind,
            body: record.body.clone(),
        };
        let mut number = Number::new();
        let (body, protocol) = match form.to_tcp(delivery.topic) {
            Ok(converted) => converted,
            Err(error) => {
                let refusal = Refusal::for_good(format!("the event cannot be carried over TCP: {error}"));
                let seq = number.text(delivery.seq);
                return self.outbox.put(|out| answer::refusal(self.command, &refusal, seq, out));
            }
        };
        if let Some(request) = record.request {
            let id = form
                .event()
                .map(|e| cloudevents::AttributesReader::id(&e).to_owned())
                .unwrap_or_default();
            self.asking.add(delivery.seq, request.id, id);
        }
        let stamped = protocol == "cloudevents" && record.kind != Kind::Message && (self.stamp.is_some() || record.request.is_some());
        self.outbox.put(|out| self.encode(delivery, &body, protocol, stamped, out));
    }
}

impl Push {
    fn encode(&self, delivery: &Delivery<'_>, body: &[u8], protocol: &str, stamped: bool, out: &mut BytesMut) {
        let start = out.len();
        let stamp = self.stamp.as_deref().unwrap_or_default();
        out.reserve(body.len() + stamp.len() + 400);
        out.put_slice(b"EventMesh0000\0\0\0\0\0\0\0\0");
        let mut number = Number::new();
        let header_at = out.len();
        out.put_slice(b"{\"cmd\":\"");
        out.put_slice(self.command.name().as_bytes());
        out.put_slice(b"\",\"code\":0,\"seq\":\"");
        out.put_slice(number.text(delivery.seq).as_bytes());
        out.put_slice(b"\",\"properties\":{\"protocoltype\":\"");
        out.put_slice(protocol.as_bytes());
        out.put_slice(b"\",\"openconnectattempt\":\"");
        out.put_slice(number.text(delivery.attempt.into()).as_bytes());
        out.put_slice(b"\"},\"command\":\"");
        out.put_slice(self.command.name().as_bytes());
        out.put_slice(b"\"}");
        let header_len = out.len() - header_at;
        match body.split_last() {
            Some((b'}', inner)) if stamped => {
                out.put_slice(inner);
                out.put_slice(stamp);
                out.put_slice(b",\"reqeventmesh2ctimestamp\":\"");
                out.put_slice(number.text(now_ms()).as_bytes());
                if delivery.record.request.is_some() {
                    out.put_slice(b"\",\"openconnectseq\":\"");
                    out.put_slice(number.text(delivery.seq).as_bytes());
                }
                out.put_slice(b"\"}");
            }
            _ => out.put_slice(body),
        }
        let package = i32::try_from(out.len() - start - 8).unwrap_or(i32::MAX);
        let lengths = out.get_mut(start + 13..start + 21);
        if let Some((first, second)) = lengths.and_then(|l| l.split_at_mut_checked(4)) {
            first.copy_from_slice(&package.to_be_bytes());
            second.copy_from_slice(&i32::try_from(header_len).unwrap_or(i32::MAX).to_be_bytes());
        }
    }
}

/// Decimal digits without an allocation.
struct Number([u8; 20]);

impl Number {
    fn new() -> Self {
        Self([b'0'; 20])
    }

    fn text(&mut self, mut value: u64) -> &str {
        let mut at = self.0.len();
        while let Some(slot) = at.checked_sub(1).and_then(|i| self.0.get_mut(i)) {
            at -= 1;
            *slot = b'0' + u8::try_from(value % 10).unwrap_or(0);
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.0.get(at..).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or("0")
    }
}
