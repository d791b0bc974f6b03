//! The name of a connector's own section.

/// Which of a connector's two kinds: the name of its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// `source:`
    Source,
    /// `sink:`
    Sink,
}

impl Section {
    /// The key in the configuration.
    pub fn key(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Sink => "sink",
        }
    }
}
