//! A codec with a framing.

use crate::codec::{Codec, Framing};
use crate::error::FormatError;

/// A codec with a framing that can hold its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    pub(crate) codec: Codec,
    pub(crate) framing: Framing,
}

impl Format {
    /// One event in CloudEvents' JSON format, `application/cloudevents+json`.
    pub const EVENT: Self = Self::of(Codec::CloudEvents, Framing::Single);
    /// Events in CloudEvents' batch format, `application/cloudevents-batch+json`.
    pub const EVENT_BATCH: Self = Self::of(Codec::CloudEvents, Framing::Array);
    /// One event in CloudEvents' JSON format a line.
    pub const EVENT_LINES: Self = Self::of(Codec::CloudEvents, Framing::Lines);
    /// One JSON value a line.
    pub const JSON_LINES: Self = Self::of(Codec::Json, Framing::Lines);

    const fn of(codec: Codec, framing: Framing) -> Self {
        Self { codec, framing }
    }

    /// Combines a codec with a framing.
    ///
    /// # Errors
    ///
    /// The framing can't hold such records: bytes stand alone, text stands alone or in lines.
    pub const fn new(codec: Codec, framing: Framing) -> Result<Self, FormatError> {
        match (codec, framing) {
            (Codec::Bytes, Framing::Lines | Framing::Array) | (Codec::Text, Framing::Array) => {
                Err(FormatError::Combination { codec, framing })
            }
            _ => Ok(Self { codec, framing }),
        }
    }

    /// The media type of the bytes.
    pub const fn media_type(self) -> &'static str {
        match (self.codec, self.framing) {
            (Codec::CloudEvents, Framing::Single) => "application/cloudevents+json",
            (Codec::CloudEvents, Framing::Array) => "application/cloudevents-batch+json",
            (Codec::CloudEvents | Codec::Json, Framing::Lines) => "application/x-ndjson",
            (Codec::Json, Framing::Single | Framing::Array) => "application/json",
            (Codec::Text, _) => "text/plain; charset=utf-8",
            (Codec::Bytes, _) => "application/octet-stream",
        }
    }

    /// May there be any number of records?
    pub const fn is_multiple(self) -> bool {
        !matches!(self.framing, Framing::Single)
    }
}
