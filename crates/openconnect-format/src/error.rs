//! Why bytes are not of a format, or an event does not fit into it.

use crate::codec::{Codec, Framing};

/// Why bytes are not of a format, or an event does not fit into it. The text never repeats data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The framing can't hold records of this codec, e.g. bytes in lines.
    #[error("{codec:?} records can't be framed as {framing:?}")]
    Combination {
        /// What one record is.
        codec: Codec,
        /// How records follow each other.
        framing: Framing,
    },
    /// One record is wrong.
    #[error("record {number}: {reason}")]
    Record {
        /// Which one, counted from 1; in lines, the number of the line.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The bytes as a whole are wrong.
    #[error("{0}")]
    Malformed(String),
    /// There are more records than the limit.
    #[error("there are more than {limit} records")]
    TooMany {
        /// The limit.
        limit: usize,
    },
}
