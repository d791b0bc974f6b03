//! Why a request was refused.

use openconnect_protocol::refusal::RefusalKind;

/// Why a request was refused. Clients are told the kind in a property, and the reason for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: RefusalKind,
    pub(crate) reason: String,
}

impl Refusal {
    pub(crate) fn new(kind: RefusalKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
        }
    }

    /// The same request may succeed later.
    pub(crate) fn passing(reason: impl Into<String>) -> Self {
        Self::new(RefusalKind::Busy, reason)
    }

    /// The same request will be refused again.
    pub(crate) fn for_good(reason: impl Into<String>) -> Self {
        Self::new(RefusalKind::Invalid, reason)
    }

    /// In the words that clients of EventMesh know for missing rights.
    pub(crate) fn denied(reason: impl std::fmt::Display) -> Self {
        Self::new(RefusalKind::Denied, format!("AclException: {reason}"))
    }

    pub(crate) fn too_large(limit: u64) -> Self {
        Self::new(RefusalKind::TooLarge, format!("event size exceeds the limit: {limit}"))
    }

    pub(crate) fn stopping() -> Self {
        Self::new(RefusalKind::Session, "server state is not running: the mesh stops")
    }
}
