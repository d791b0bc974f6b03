//! Which requests a subscriber has been given, so that its replies find their way to whoever asked.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::lock::locked;

/// A request that was delivered here and has not been replied to.
struct Asked {
    seq: u64,
    request: u64,
    event: String,
}

/// The requests that one subscriber has been given, so that its replies find their way.
#[derive(Default)]
pub(crate) struct Asking(Mutex<VecDeque<Asked>>);

/// Requests that one subscriber may leave without reply before the oldest is forgotten.
const MAX_ASKED: usize = 4096;

impl Asking {
    pub(crate) fn add(&self, seq: u64, request: u64, event: String) {
        let mut asked = locked(&self.0);
        if asked.len() >= MAX_ASKED {
            asked.pop_front();
        }
        asked.push_back(Asked { seq, request, event });
    }

    /// The request that a reply belongs to: named by the delivery's number, else by the event's id, else the oldest one,
    /// because clients of EventMesh 1.x handle one request after the other.
    pub(crate) fn take(&self, seq: Option<u64>, event: &str) -> Option<u64> {
        let mut asked = locked(&self.0);
        let by_seq = seq.and_then(|seq| asked.iter().position(|a| a.seq == seq));
        let at = by_seq.or_else(|| asked.iter().position(|a| a.event == event)).unwrap_or(0);
        asked.remove(at).map(|a| a.request)
    }
}
