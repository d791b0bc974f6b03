//! Why a session ended, and the next attempt to have one.

use std::time::{Duration, Instant};

use super::MeshStatus;
use super::url::Server;
use crate::backoff::Backoff;
use crate::codes;
use crate::failure::Failure;

const FIRST_WAIT: Duration = Duration::from_millis(50);
/// A session that lasted this long was one.
const STOOD: Duration = Duration::from_secs(2);

/// The attempts to have a session.
pub(super) struct Reconnect {
    backoff: Backoff,
    /// Those that came to nothing, in a row.
    failures: u32,
}

impl Reconnect {
    pub(super) fn new(max: Duration) -> Self {
        Self {
            backoff: Backoff::new(FIRST_WAIT, max),
            failures: 0,
        }
    }

    /// A session is over. The next attempt comes at once again when it did something or stood for a while: a server that
    /// takes connections and drops them is not to be hammered.
    pub(super) fn after(&mut self, began: Instant, useful: bool) {
        if useful || began.elapsed() > STOOD {
            self.failures = 0;
        }
    }

    /// Waits for the next attempt.
    pub(super) async fn wait(&mut self) {
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(self.backoff.wait(self.failures, None)).await;
    }
}

/// Why a session ended.
pub(super) enum Ended {
    /// The client was closed and everything is settled, or the connector is going down.
    Closed,
    /// To be set up again, with this reason.
    Broken(Failure),
    /// The server refuses what is published, for now.
    Refused(String),
    /// The server sends the client to another.
    Redirected(Server),
}

/// A redirect that is not obeyed any more.
pub(super) fn circles(to: &Server) -> Failure {
    Failure::retryable(codes::SENT_AWAY, format!("the servers redirect in circles, at last to {to}"))
}

/// The status after a failure.
pub(crate) fn lost(failure: &Failure) -> MeshStatus {
    MeshStatus::Disconnected { reason: failure.reason() }
}
