//! How long to wait before another attempt: exponential back-off with full jitter, or what the target asked for. And dead
//! letters, which are attempted until they are written.

use std::time::Duration;

use rand::Rng as _;

use super::sink::intake::Payload;
use crate::admin::StatusHandle;
use crate::config::RetrySettings;
use crate::dead_letter::DeadLetters;
use crate::failure::{Failure, FailureKind};

/// Longest wait that a target may ask for.
const MAX_ASKED: Duration = Duration::from_secs(3600);

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
                    status.error(failure.code, format!("a dead letter can't be written: {}", failure.reason()));
                    tokio::time::sleep(self.wait(tries, &failure)).await;
                }
                written => return written,
            }
        }
    }

    /// The wait after `attempts` failures: the back-off, or what the target asked for when that is longer. `delivery.retry.max` bounds
    /// the back-off alone, and [`MAX_ASKED`] what a target may ask for.
    pub(crate) fn wait(&self, attempts: u32, failure: &Failure) -> Duration {
        let asked = match failure.kind {
            FailureKind::Retryable { after } => after.unwrap_or_default(),
            FailureKind::Throttled { after } => after,
            FailureKind::Permanent | FailureKind::Fatal => Duration::ZERO,
        };
        asked.min(MAX_ASKED).max(self.back_off(attempts))
    }

    fn back_off(&self, attempts: u32) -> Duration {
        let ceiling = self.initial.saturating_mul(1 << attempts.saturating_sub(1).min(20)).min(self.max);
        // Never at once: a target that refuses in microseconds would be asked in a tight loop.
        (ceiling / 10).max(Duration::from_millis(1)) + ceiling.mul_f64(rand::rng().random_range(0.0..0.9))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::tests::TARGET_BUSY;
    use crate::duration::HumanDuration;

    fn policy() -> RetryPolicy {
        RetryPolicy::new(&RetrySettings {
            initial: HumanDuration(Duration::from_millis(100)),
            max: HumanDuration(Duration::from_secs(30)),
            max_attempts: None,
        })
    }

    fn asked(seconds: u64) -> [Failure; 2] {
        let after = Duration::from_secs(seconds);
        [
            Failure::throttled(after, TARGET_BUSY, ""),
            Failure::retry_after(after, TARGET_BUSY, ""),
        ]
    }

    #[test]
    fn a_target_that_asks_for_no_wait_is_not_asked_in_a_tight_loop() {
        for attempts in [1, 5, 20] {
            let ceiling = Duration::from_millis(100 << (attempts - 1)).min(Duration::from_secs(30));
            for failure in asked(0) {
                let wait = policy().wait(attempts, &failure);
                assert!((ceiling / 10..=ceiling).contains(&wait), "{attempts}: {wait:?}");
            }
        }
    }

    #[test]
    fn a_target_may_ask_for_more_than_the_longest_back_off_but_not_for_ever() {
        for (seconds, wait) in [(60, 60), (3600, 3600), (u64::MAX, 3600)] {
            for failure in asked(seconds) {
                assert_eq!(policy().wait(1, &failure), Duration::from_secs(wait));
            }
        }
    }
}
