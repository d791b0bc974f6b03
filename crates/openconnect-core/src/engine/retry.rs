//! How long to wait before another attempt: exponential back-off with full jitter, or what the target asked for.

use std::time::Duration;

use rand::Rng as _;

use crate::config::RetrySettings;
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
