//! Why an event could not be delivered, and what may be done about it.

use std::fmt;
use std::time::Duration;

use crate::cause::{BoxError, Cause, with_causes};
use crate::code::Code;
use crate::error::Error;

/// What the core may do about a failure. The core alone decides; a connector only says which kind it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Worth another try, after `after` when the target said so, else after the configured back-off.
    Retryable {
        /// How long the target asked to wait.
        after: Option<Duration>,
    },
    /// The target asked for fewer requests; every write waits this long, not only the failed one.
    Throttled {
        /// How long the target asked to wait.
        after: Duration,
    },
    /// The same event will fail again; it goes to the dead letters.
    Permanent,
    /// The connector can't go on at all (revoked credentials, dropped table); it stops with a non-zero exit code.
    Fatal,
}

/// One failure: its kind, a stable code, a text for people, and what it came from ([`source`](std::error::Error::source)). Neither
/// text carries secrets or event data.
///
/// `{}` shows the code and the message, `{:#}` the causes too. Two failures are equal when kind, code and message are.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What may be done about it.
    pub kind: FailureKind,
    /// Stable code, e.g. `OC0403` or `HTTP_404`; becomes the dead letter's `dlqcode`.
    pub code: Code,
    message: String,
    cause: Option<Cause>,
}

impl Failure {
    /// A failure that is worth another try after the configured back-off.
    pub fn retryable(code: Code, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Retryable { after: None }, code, message)
    }

    /// A failure that is worth another try after the time that the target named.
    pub fn retry_after(after: Duration, code: Code, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Retryable { after: Some(after) }, code, message)
    }

    /// The target asked for fewer requests.
    pub fn throttled(after: Duration, code: Code, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Throttled { after }, code, message)
    }

    /// A failure that the same event will meet again.
    pub fn permanent(code: Code, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Permanent, code, message)
    }

    /// A failure after which the connector can't go on.
    pub fn fatal(code: Code, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Fatal, code, message)
    }

    /// An error, of which more is known than that it ends a program.
    pub fn of(kind: FailureKind, error: Error) -> Self {
        Self {
            kind,
            code: error.code,
            message: error.message,
            cause: error.cause,
        }
    }

    fn new(kind: FailureKind, code: Code, message: impl Into<String>) -> Self {
        Self {
            kind,
            code,
            message: message.into(),
            cause: None,
        }
    }

    /// Keeps what the failure came from. Its text is shown and logged after the message: an error that may quote a secret or an
    /// event is not kept.
    pub fn because(mut self, cause: impl Into<BoxError>) -> Self {
        self.cause = Some(Cause::from(cause.into()));
        self
    }

    /// What happened and what to do, and after a colon each, the causes: what people are shown.
    pub fn reason(&self) -> String {
        with_causes(&self.message, self.cause.as_ref())
    }

    /// Is another try of the same event worth it?
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, FailureKind::Retryable { .. } | FailureKind::Throttled { .. })
    }
}

impl PartialEq for Failure {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, self.code, &self.message) == (other.kind, other.code, &other.message)
    }
}

impl Eq for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match f.alternate() {
            true => write!(f, "{}: {}", self.code, self.reason()),
            false => write!(f, "{}: {}", self.code, self.message),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io;

    use super::*;
    use crate::codes::TASK_ENDED;

    #[test]
    fn a_cause_is_kept_and_said_once() {
        let denied = || io::Error::new(io::ErrorKind::PermissionDenied, "denied");
        let failure = Failure::retryable(TASK_ENDED, "the write ended").because(denied());
        assert!(failure.source().is_some_and(<dyn std::error::Error>::is::<io::Error>));
        assert_eq!(failure.to_string(), "OC0490: the write ended");
        assert_eq!(format!("{failure:#}"), "OC0490: the write ended: denied");
        let outer = crate::Error::unavailable(TASK_ENDED, "no start").because(failure.clone());
        assert_eq!(outer.reason(), "no start: OC0490: the write ended: denied");
        let repeated = Failure::retryable(TASK_ENDED, "the file is denied").because(denied());
        assert_eq!(repeated.reason(), "the file is denied");
        assert_eq!(failure, Failure::retryable(TASK_ENDED, "the write ended"));
    }
}
