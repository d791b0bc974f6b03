//! What one record is, and how records follow each other.

/// What one record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// An event's data, which is JSON; its exact text, so that no number loses a digit.
    Json,
    /// An event's data, which is text in UTF-8.
    Text,
    /// An event's data, whatever it is.
    Bytes,
    /// A whole event in CloudEvents' JSON format.
    CloudEvents,
}

/// How records follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// One record takes all bytes.
    Single,
    /// One record a line. A record never has a line feed in it.
    Lines,
    /// The records are the elements of one JSON array.
    Array,
}
