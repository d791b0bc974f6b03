//! Why an event could not be delivered, and what may be done about it.

use std::time::Duration;

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

/// One failure: its kind, a stable code, and a text for people. The text never carries secrets or event data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// What may be done about it.
    pub kind: FailureKind,
    /// Stable code, e.g. `OC0412` or `HTTP_404`; becomes the dead letter's `dlqcode`.
    pub code: String,
    /// What happened and what to do.
    pub message: String,
}

impl Failure {
    /// A failure that is worth another try after the configured back-off.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Retryable { after: None }, code, message)
    }

    /// A failure that is worth another try after the time that the target named.
    pub fn retry_after(after: Duration, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Retryable { after: Some(after) }, code, message)
    }

    /// The target asked for fewer requests.
    pub fn throttled(after: Duration, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Throttled { after }, code, message)
    }

    /// A failure that the same event will meet again.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Permanent, code, message)
    }

    /// A failure after which the connector can't go on.
    pub fn fatal(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Fatal, code, message)
    }

    fn new(kind: FailureKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.into(),
            message: message.into(),
        }
    }

    /// Is another try of the same event worth it?
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, FailureKind::Retryable { .. } | FailureKind::Throttled { .. })
    }
}
