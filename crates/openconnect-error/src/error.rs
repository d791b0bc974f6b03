//! The error that stops a connector, with the exit code that tells the supervisor why.

use std::fmt;

use crate::cause::{Cause, with_causes};
use crate::code::Code;

pub use crate::cause::BoxError;

/// What a connector's process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything was delivered (0).
    Clean,
    /// Something is undelivered: it is still in the inbox or before the offset (70).
    Undelivered,
    /// Another process has taken over the lease of this instance (75). Started again, this one stands by.
    LeaseLost,
    /// The configuration or the command line is wrong (78).
    Config,
    /// A resource is missing or refused at start or for good: mesh, target, state folder (69).
    Unavailable,
}

impl Exit {
    /// The process's exit code, after BSD's `sysexits.h`.
    pub fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Unavailable => 69,
            Self::Undelivered => 70,
            Self::LeaseLost => 75,
            Self::Config => 78,
        }
    }
}

/// An error that ends a command or the connector: a stable code with a page in `docs/errors/`, what happened, what to do, and what
/// it came from ([`source`](std::error::Error::source)).
///
/// `{}` shows the code and the message, `{:#}` the causes too.
#[derive(Debug, Clone)]
pub struct Error {
    /// Stable code, e.g. `OC0201`.
    pub code: Code,
    pub(crate) message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// What the process ends with when this error reaches `main`.
    pub exit: Exit,
    pub(crate) cause: Option<Cause>,
}

impl Error {
    /// An error of the configuration (exit code 78).
    pub fn config(code: Code, message: impl Into<String>) -> Self {
        Self::new(Exit::Config, code, message)
    }

    /// A resource is missing or refused (exit code 69).
    pub fn unavailable(code: Code, message: impl Into<String>) -> Self {
        Self::new(Exit::Unavailable, code, message)
    }

    /// The connector stopped with undelivered events (exit code 70).
    pub fn undelivered(code: Code, message: impl Into<String>) -> Self {
        Self::new(Exit::Undelivered, code, message)
    }

    /// Another process has taken over the lease (exit code 75).
    pub fn lease_lost(code: Code, message: impl Into<String>) -> Self {
        Self::new(Exit::LeaseLost, code, message)
    }

    fn new(exit: Exit, code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            exit,
            cause: None,
        }
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps what the error came from. Its text is shown and logged after the message: an error that may quote a secret or an
    /// event is not kept.
    pub fn because(mut self, cause: impl Into<BoxError>) -> Self {
        self.cause = Some(Cause::from(cause.into()));
        self
    }

    /// What happened and where, and after a colon each, the causes: what people are shown.
    pub fn reason(&self) -> String {
        with_causes(&self.message, self.cause.as_ref())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match f.alternate() {
            true => write!(f, "{}: {}", self.code, self.reason()),
            false => write!(f, "{}: {}", self.code, self.message),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// Result of everything that can end the connector.
pub type Result<T, E = Error> = std::result::Result<T, E>;
