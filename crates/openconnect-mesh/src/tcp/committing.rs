//! What is on its way to the disk for one connection.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Bytes of publishes that one connection may have waiting for their commit.
const MAX_COMMITTING: usize = 8 << 20;

/// What is on its way to the disk for one connection.
#[derive(Default)]
pub(crate) struct Committing {
    bytes: AtomicUsize,
    less: Notify,
}

impl Committing {
    pub(crate) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(crate) fn done(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.less.notify_one();
    }

    pub(super) async fn room(&self) {
        while self.bytes.load(Ordering::Acquire) > MAX_COMMITTING {
            self.less.notified().await;
        }
    }

    pub(super) async fn empty(&self) {
        while self.bytes.load(Ordering::Acquire) > 0 {
            self.less.notified().await;
        }
    }
}
