//! Whether and when there is another attempt. And dead letters, which are attempted until they are written.

use std::time::Duration;

use super::payload::Payload;
use crate::admin::StatusHandle;
use crate::backoff::Backoff;
use crate::config::RetrySettings;
use crate::dead_letter::DeadLetters;
use crate::failure::{Failure, FailureKind};

/// The policy of a connector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryPolicy {
    backoff: Backoff,
    max_attempts: Option<u32>,
}

impl RetryPolicy {
    pub(crate) fn new(settings: &RetrySettings) -> Self {
        Self {
            backoff: Backoff::new(settings.initial.0, settings.max.0),
            max_attempts: settings.max_attempts,
        }
    }

    /// May there be another attempt after `attempts` have failed?
    pub(crate) fn allows(&self, attempts: u32) -> bool {
        self.max_attempts.is_none_or(|max| attempts < max)
    }

    /// Writes a dead letter, again and again; an error is for good.
    pub(crate) async fn put_dead_letter(
        self,
        dead_letters: &DeadLetters,
        payload: &Payload,
        reason: &Failure,
        attempts: u32,
        status: &StatusHandle,
    ) -> Result<(), Failure> {
        let mut tries = 0;
        loop {
            let put = match payload {
                Payload::Event(event) | Payload::Rejected(event, _) => dead_letters.put(event, reason, attempts).await,
                Payload::Unreadable(raw, _) => dead_letters.put_unreadable(raw, reason, attempts).await,
                Payload::Filtered => Ok(()),
            };
            match put {
                Err(failure) if failure.kind != FailureKind::Fatal => {
                    tries += 1;
                    status.error(failure.code, format!("a dead letter can't be written: {}", failure.reason()));
                    tokio::time::sleep(self.wait(tries, &failure)).await;
                }
                written => return written,
            }
        }
    }

    /// The wait after `attempts` failures: the back-off, or what the target asked for when that is longer. `delivery.retry.max` bounds
    /// the back-off alone.
    pub(crate) fn wait(&self, attempts: u32, failure: &Failure) -> Duration {
        let asked = match failure.kind {
            FailureKind::Retryable { after } => after,
            FailureKind::Throttled { after } => Some(after),
            FailureKind::Permanent | FailureKind::Fatal => None,
        };
        self.backoff.wait(attempts, asked)
    }
}
