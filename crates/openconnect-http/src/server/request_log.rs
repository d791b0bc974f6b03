//! Refused requests leave a trace: a counter by status, and a warning now and then.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;

use super::problem::Problem;

/// Least time between two warnings of the same status.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Counts responses in `openconnect_http_requests_total{code}`, and logs refusals: the first of a status at once, further ones as a number
/// with the next warning, so that a sender with wrong credentials does not fill the log.
#[derive(Default)]
pub struct RequestLog {
    /// By status. There are few: the server makes them.
    statuses: Mutex<BTreeMap<u16, Requests>>,
}

struct Requests {
    total: metrics::Counter,
    warned_at: Option<Instant>,
    /// Refusals since that warning.
    unreported: u64,
}

impl RequestLog {
    /// Counts an accepted request.
    pub fn accepted(&self, status: StatusCode) {
        self.with(status, |requests| requests.total.increment(1));
    }

    /// Counts a refused request, and logs it or folds it into a later warning.
    pub fn refused(&self, problem: &Problem) {
        if let Some(number) = self.fold(problem.status, Instant::now()) {
            tracing::warn!(
                status = problem.status.as_u16(),
                code = %problem.code(),
                number,
                "requests were refused: {}",
                problem.detail()
            );
        }
    }

    /// Counts a refusal. How many refusals a warning should state now, or `None` when it is too early for one.
    fn fold(&self, status: StatusCode, now: Instant) -> Option<u64> {
        self.with(status, |requests| {
            requests.total.increment(1);
            requests.unreported += 1;
            let is_early = |warned_at| now.saturating_duration_since(warned_at) < WARNING_INTERVAL;
            if requests.warned_at.is_some_and(is_early) {
                return None;
            }
            requests.warned_at = Some(now);
            Some(std::mem::take(&mut requests.unreported))
        })
    }

    fn with<T>(&self, status: StatusCode, change: impl FnOnce(&mut Requests) -> T) -> T {
        let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        change(statuses.entry(status.as_u16()).or_insert_with(|| Requests {
            total: metrics::counter!("openconnect_http_requests_total", "code" => status.as_u16().to_string()),
            warned_at: None,
            unreported: 0,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_a_status_are_folded_into_one_warning_an_interval() {
        let log = RequestLog::default();
        let start = Instant::now();
        let fold = |status, seconds| log.fold(status, start + Duration::from_secs(seconds));
        assert_eq!(fold(StatusCode::UNAUTHORIZED, 0), Some(1));
        assert_eq!(fold(StatusCode::UNAUTHORIZED, 1), None);
        assert_eq!(fold(StatusCode::UNAUTHORIZED, 59), None);
        assert_eq!(fold(StatusCode::BAD_REQUEST, 59), Some(1));
        assert_eq!(fold(StatusCode::UNAUTHORIZED, 60), Some(3));
        assert_eq!(fold(StatusCode::UNAUTHORIZED, 61), None);
    }
}
