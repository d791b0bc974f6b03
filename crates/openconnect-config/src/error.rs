//! The error that stops a connector, with the exit code that tells the supervisor why.

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

/// An error that ends a command or the connector: a stable code with a page in `docs/errors/`, what happened, what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Error {
    /// Stable code, e.g. `OC0201`.
    pub code: &'static str,
    /// What happened and where.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// What the process ends with when this error reaches `main`.
    pub exit: Exit,
}

impl Error {
    /// An error of the configuration (exit code 78).
    pub fn config(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            exit: Exit::Config,
        }
    }

    /// A resource is missing or refused (exit code 69).
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            exit: Exit::Unavailable,
        }
    }

    /// The connector stopped with undelivered events (exit code 70).
    pub fn undelivered(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            exit: Exit::Undelivered,
        }
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Result of everything that can end the connector.
pub type Result<T, E = Error> = std::result::Result<T, E>;
