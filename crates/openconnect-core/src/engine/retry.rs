//! How long to wait before another attempt: exponential back-off with full jitter, or what the target asked for. And dead
//! letters, which are attempted until they are written.

use std::time::Duration;

use rand::Rng as _;

use super::sink::intake::Payload;
use crate::admin::StatusHandle;
use crate::config::RetrySettings;
use crate::dead_letter::DeadLetters;
use crate::failure::{Failure, FailureKind};

/// The policy of a connector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryPolicy {
    initial: Duration,
    max: Duration,
    max_attempts: Option<u32>,
}

impl RetryPolicy {
    pub(crate) fn new(settings: &RetrySettings) -> Self {
        Self {
            initial: settings.initial.0,
            max: settings.max.0,
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
                    status.error(failure.code.clone(), format!("a dead letter can't be written: {}", failure.message));
                    tokio::time::sleep(self.wait(tries, &failure)).await;
                }
                written => return written,
            }
        }
    }

    /// The wait after `attempts` failures. What a target asks for is obeyed up to the maximum.
    pub(crate) fn wait(&self, attempts: u32, failure: &Failure) -> Duration {
        match failure.kind {
            FailureKind::Retryable { after: Some(after) } | FailureKind::Throttled { after } => after.min(self.max),
            _ => {
                let ceiling = self.initial.saturating_mul(1 << attempts.saturating_sub(1).min(20)).min(self.max);
                // Never at once: a target that refuses in microseconds would be asked in a tight loop.
                (ceiling / 10).max(Duration::from_millis(1)) + ceiling.mul_f64(rand::rng().random_range(0.0..0.9))
            }
        }
    }
}
