//! Compression, and decompression within limits.

use std::borrow::Cow;
use std::io::{Read, Write as _};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Largest Zstandard window that is accepted, as a power of two: 8 MiB, which RFC 9659 asks of every decoder of the content coding.
/// No more memory of it is touched than the decompressed bytes take, so the limits bound it.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Level that Zstandard compresses with.
const ZSTD_LEVEL: i32 = 3;

/// A compression of a whole body or object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As it is.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// The zlib format, which HTTP calls `deflate`. It is read; no setting offers it for writing, because some receivers expect the
    /// format without its header under the same name.
    #[serde(skip)]
    Deflate,
}

/// What decompressed bytes may take.
#[derive(Debug, Clone, Copy)]
pub struct DecompressionLimits {
    /// Most bytes.
    pub bytes: u64,
    /// How many times larger than the compressed bytes they may be.
    pub ratio: u64,
}

/// Why bytes could not be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// The decompressed bytes are over a limit.
    #[error("the decompressed bytes are more than {limit}")]
    TooLarge {
        /// The limit that holds for these bytes.
        limit: u64,
    },
    /// A Zstandard frame asks for a window over 8 MiB.
    #[error("the Zstandard window is larger than 8 MiB")]
    WindowTooLarge,
    /// The bytes are not of the compression, or end early.
    #[error("the bytes are not {0}, or end early")]
    Broken(&'static str),
}

impl Compression {
    /// The compression of a `Content-Encoding` (RFC 9110, section 8.4.1); `None` for one that is not known, and for several.
    pub fn from_content_encoding(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::None),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The value of `Content-Encoding`, or `None` for bytes as they are.
    pub const fn content_encoding(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Deflate => Some("deflate"),
            Self::Zstd => Some("zstd"),
        }
    }

    /// Compresses a whole body.
    ///
    /// # Errors
    ///
    /// The compressor can't get its memory.
    pub fn compress(self, bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
        match self {
            Self::None => Ok(bytes),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&bytes)?;
                encoder.finish()
            }
            Self::Deflate => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&bytes)?;
                encoder.finish()
            }
            Self::Zstd => zstd::bulk::compress(&bytes, ZSTD_LEVEL),
        }
    }

    /// Decompresses a whole body. Members of gzip and frames of Zstandard may follow each other.
    ///
    /// # Errors
    ///
    /// The bytes are not of this compression, or more than `limits` allow.
    pub fn decompress(self, bytes: &[u8], limits: DecompressionLimits) -> Result<Cow<'_, [u8]>, CompressionError> {
        let allowed = limits.bytes.min((bytes.len() as u64).saturating_mul(limits.ratio));
        match self {
            Self::None if bytes.len() as u64 > limits.bytes => return Err(CompressionError::TooLarge { limit: limits.bytes }),
            Self::None => return Ok(Cow::Borrowed(bytes)),
            Self::Gzip => bounded(flate2::read::MultiGzDecoder::new(bytes), allowed, "gzip"),
            Self::Deflate => bounded(flate2::read::ZlibDecoder::new(bytes), allowed, "deflate"),
            Self::Zstd => {
                let broken = |_| CompressionError::Broken("zstd");
                let mut decoder = zstd::stream::read::Decoder::new(bytes).map_err(broken)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(broken)?;
                bounded(decoder, allowed, "zstd")
            }
        }
        .map(Cow::Owned)
    }
}

fn bounded(reader: impl Read, allowed: u64, name: &'static str) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::new();
    reader.take(allowed.saturating_add(1)).read_to_end(&mut out).map_err(|e| {
        // libzstd's only error for a window over the limit.
        match e.to_string().contains("too much memory") {
            true => CompressionError::WindowTooLarge,
            false => CompressionError::Broken(name),
        }
    })?;
    match out.len() as u64 > allowed {
        true => Err(CompressionError::TooLarge { limit: allowed }),
        false => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIMITS: DecompressionLimits = DecompressionLimits {
        bytes: 1 << 20,
        ratio: 200,
    };
    const KINDS: [Compression; 4] = [Compression::None, Compression::Gzip, Compression::Deflate, Compression::Zstd];

    /// `{"a":1}` as a program writes it that streams with a window of 2 to the power of `log` and states no size.
    fn streamed(log: u32) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(log).unwrap();
        encoder.write_all(b"{\"a\":1}").unwrap();
        encoder.flush().unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_is_compressed_is_read_back() {
        let bytes = b"{\"a\":1}".repeat(20);
        for kind in KINDS {
            let compressed = kind.compress(bytes.clone()).unwrap();
            assert_eq!(kind.decompress(&compressed, LIMITS).unwrap(), bytes.as_slice(), "{kind:?}");
            assert_eq!(
                Compression::from_content_encoding(kind.content_encoding().unwrap_or_default()),
                Some(kind)
            );
        }
        assert_eq!(Compression::from_content_encoding("gzip, gzip"), None);
    }

    #[test]
    fn zstd_windows_up_to_8_mib_are_read_whatever_the_limit_of_the_body() {
        for log in [21, 23] {
            let limits = DecompressionLimits { bytes: 64, ..LIMITS };
            assert_eq!(
                Compression::Zstd.decompress(&streamed(log), limits).unwrap(),
                b"{\"a\":1}".as_slice()
            );
        }
        assert_eq!(
            Compression::Zstd.decompress(&streamed(24), LIMITS),
            Err(CompressionError::WindowTooLarge)
        );
    }

    #[test]
    fn a_bomb_is_stopped_at_either_limit() {
        let zeros = vec![0; 4 << 20];
        for kind in [Compression::Gzip, Compression::Deflate, Compression::Zstd] {
            let bomb = kind.compress(zeros.clone()).unwrap();
            let limit = |bytes, ratio| kind.decompress(&bomb, DecompressionLimits { bytes, ratio });
            assert_eq!(
                limit(1 << 20, u64::MAX),
                Err(CompressionError::TooLarge { limit: 1 << 20 }),
                "{kind:?}"
            );
            let limit_by_ratio = bomb.len() as u64 * 10;
            assert_eq!(
                limit(u64::MAX, 10),
                Err(CompressionError::TooLarge { limit: limit_by_ratio }),
                "{kind:?}"
            );
            assert!(limit(4 << 20, u64::MAX).is_ok(), "{kind:?}");
        }
        assert!(
            Compression::None
                .decompress(&zeros, DecompressionLimits { bytes: 5, ratio: 1 })
                .is_err()
        );
    }

    #[test]
    fn broken_bytes_are_named_by_their_compression() {
        for kind in [Compression::Gzip, Compression::Deflate, Compression::Zstd] {
            let whole = kind.compress(b"{\"a\":1}".repeat(100)).unwrap();
            for bytes in [b"{\"a\":1}".as_slice(), &whole[..whole.len() / 2]] {
                let error = kind.decompress(bytes, LIMITS).unwrap_err();
                assert_eq!(error, CompressionError::Broken(kind.content_encoding().unwrap()));
            }
        }
    }
}
