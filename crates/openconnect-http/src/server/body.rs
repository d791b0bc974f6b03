//! Reading a body within its limits, and decompressing it within the same.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use openconnect_core::budget::{Budget, Reservation};
use openconnect_format::{Compression, CompressionError, DecompressionLimits};
use tokio::time::timeout;

use super::problem::Problem;

use crate::codes;

/// What the body of a request may take.
#[derive(Debug, Clone)]
pub struct BodyLimits {
    /// Size in bytes, as received and decompressed.
    pub bytes: usize,
    /// How many times larger than received it may be once decompressed.
    pub ratio: u64,
    /// How long the sender may take to send it.
    pub time: Duration,
}

/// Reads the whole body. Each part reserves its memory before it is kept; the reservation holds as many bytes as the body has.
///
/// # Errors
///
/// 413 for a body over its limit, 408 for one that is not sent in time, 503 when the budget is spent, 400 when it ends early.
pub async fn read(
    mut body: Incoming,
    length: Option<u64>,
    limits: &BodyLimits,
    budget: &Budget,
) -> Result<(Vec<u8>, Reservation), Problem> {
    let too_large = || Problem::too_large(format!("the body is larger than {} bytes", limits.bytes));
    if length.is_some_and(|length| length > limits.bytes as u64) {
        return Err(too_large());
    }
    let reading = async {
        let mut bytes = Vec::new();
        let mut memory = reserve(budget, 0)?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::malformed("the body ended early or is malformed"))?;
            let Ok(part) = frame.into_data() else { continue };
            if bytes.len() + part.len() > limits.bytes {
                return Err(too_large());
            }
            memory.merge(reserve(budget, part.len())?);
            bytes.extend_from_slice(&part);
        }
        Ok((bytes, memory))
    };
    timeout(limits.time, reading).await.unwrap_or_else(|_| {
        Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            codes::HTTP_TIMEOUT,
            format!("the body took longer than {:?}", limits.time),
        ))
    })
}

/// Memory for a part of a request, now or not at all: a request that waited for memory would keep what it holds from the others.
///
/// # Errors
///
/// 503 when the budget is spent.
pub fn reserve(budget: &Budget, bytes: usize) -> Result<Reservation, Problem> {
    budget
        .try_reserve(bytes)
        .ok_or_else(|| Problem::unavailable("too many requests are waiting"))
}

/// Undoes `Content-Encoding`: gzip, deflate or zstd.
///
/// # Errors
///
/// 413 when the result is over a limit, 415 for another encoding or for a Zstandard window over 8 MiB, 400 for broken data.
pub fn decompress(headers: &HeaderMap, body: Vec<u8>, limits: &BodyLimits) -> Result<Bytes, Problem> {
    let Some(encoding) = headers.get(header::CONTENT_ENCODING) else {
        return Ok(body.into());
    };
    let unsupported = |detail: String| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, codes::HTTP_ENCODING, detail);
    let compression = encoding.to_str().ok().and_then(Compression::from_content_encoding);
    let compression = compression.ok_or_else(|| unsupported("the content encoding is not one of gzip, deflate, zstd".into()))?;
    if compression == Compression::None {
        return Ok(body.into());
    }
    let limits = DecompressionLimits {
        bytes: limits.bytes as u64,
        ratio: limits.ratio,
    };
    match compression.decompress(&body, limits) {
        Ok(bytes) => Ok(bytes.into_owned().into()),
        Err(error @ CompressionError::TooLarge { .. }) => Err(Problem::too_large(error.to_string())),
        Err(error @ CompressionError::WindowTooLarge) => Err(unsupported(error.to_string())),
        Err(error @ CompressionError::Broken(_)) => Err(Problem::malformed(error.to_string())),
    }
}
