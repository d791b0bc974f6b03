//! How long to wait before another attempt: exponential, with jitter, or what the other side asked for.

use std::time::Duration;

use rand::Rng as _;

/// Longest wait that the other side may ask for.
const MAX_ASKED: Duration = Duration::from_secs(3600);

/// Waits between attempts. They double with each failure, up to a limit, and are random below that, so that those who failed together do
/// not come back together.
///
/// ```
/// use std::time::Duration;
/// use openconnect_core::backoff::Backoff;
///
/// let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// assert!(backoff.wait(1, None) <= Duration::from_secs(1));
/// assert!(backoff.wait(3, None) <= Duration::from_secs(4));
/// assert_eq!(backoff.wait(1, Some(Duration::from_secs(90))), Duration::from_secs(90));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
}

impl Backoff {
    /// At most `initial` after the first failure, and at most `max` after any.
    pub const fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max }
    }

    /// The wait after `failures` in a row, or what the other side `asked` for when that is longer: an hour at most, as only the waits
    /// of one's own are bounded by `max`.
    ///
    /// It is never nothing, also where the other side asks for no wait: one that refuses in microseconds would be asked in a tight loop.
    pub fn wait(&self, failures: u32, asked: Option<Duration>) -> Duration {
        let ceiling = self.initial.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(self.max);
        let own = (ceiling / 10).max(Duration::from_millis(1)) + ceiling.mul_f64(rand::rng().random_range(0.0..0.9));
        asked.unwrap_or_default().min(MAX_ASKED).max(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));

    #[test]
    fn waits_double_up_to_the_limit_and_are_never_nothing() {
        for failures in [1, 5, 20, u32::MAX] {
            let ceiling = Duration::from_millis(100 << (failures - 1).min(19)).min(Duration::from_secs(30));
            for asked in [None, Some(Duration::ZERO)] {
                let wait = BACKOFF.wait(failures, asked);
                assert!((ceiling / 10..=ceiling).contains(&wait), "{failures}: {wait:?}");
            }
        }
    }

    #[test]
    fn the_other_side_may_ask_for_more_but_not_for_ever() {
        for (seconds, wait) in [(60, 60), (3600, 3600), (u64::MAX, 3600)] {
            let asked = Some(Duration::from_secs(seconds));
            assert_eq!(BACKOFF.wait(1, asked), Duration::from_secs(wait));
        }
    }
}
