//! Events to bytes and back: the body of a request, an object in a store.
//!
//! Three choices make a format, each independent of the system that the bytes go to:
//!
//! | file | what is in it |
//! |---|---|
//! | `codec.rs` | [`Codec`] (JSON, text, bytes, CloudEvents) and [`Framing`] (single, lines, array) |
//! | `format.rs` | [`Format`]: a codec with a framing that can hold its records |
//! | `encode.rs` | [`Encoder`]: events to bytes, record by record |
//! | `decode.rs` | [`Format::decode`]: bytes to records, within limits |
//! | `compression.rs` | [`Compression`]: gzip, deflate and Zstandard, within limits |
//! | `error.rs` | [`FormatError`] |
//!
//! ```
//! use openconnect_format::{Codec, Format, Framing, Limits, Record};
//!
//! let lines = Format::new(Codec::Json, Framing::Lines)?;
//! let records = lines.decode(b"{\"a\":1}\n\n{\"a\":2}\n", &Limits { records: 100 })?;
//! assert_eq!(records, [Record::Data(b"{\"a\":1}"), Record::Data(b"{\"a\":2}")]);
//! # Ok::<(), openconnect_format::FormatError>(())
//! ```

mod codec;
mod compression;
mod decode;
mod encode;
mod error;
mod format;

pub use codec::{Codec, Framing};
pub use compression::{Compression, CompressionError, DecompressionLimits};
pub use decode::{Limits, Record};
pub use encode::Encoder;
pub use error::FormatError;
pub use format::Format;
