//! Keyed hashes of a body, and how old a signature may be.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderMap;
use ring::hmac;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::problem::Problem;

/// How a signature is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Hexadecimal.
    #[default]
    Hex,
    /// Base64.
    Base64,
}

/// The hash of a signature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// SHA-1, for old senders.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

/// The answer to every signature that does not fit; it does not say in what.
pub(super) fn invalid_signature() -> Problem {
    Problem::unauthorized("Signature", "the signature is missing or wrong")
}

/// The text of a header that a signature needs.
pub(super) fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Problem> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(invalid_signature)
}

/// Refuses a time, in seconds since 1970, that is further away than `tolerance`.
pub(super) fn check_time(time: &str, tolerance: Duration) -> Result<(), Problem> {
    let time: u64 = time.parse().map_err(|_| invalid_signature())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if now.abs_diff(time) <= tolerance.as_secs() {
        Ok(())
    } else {
        Err(Problem::unauthorized("Signature", "the time of the signature is too far from now"))
    }
}

/// Compares a signature with that of `parts`, in constant time.
pub(super) fn verify(
    algorithm: Algorithm,
    key: &[u8],
    parts: &[&[u8]],
    given: &str,
    prefix: &str,
    encoding: Encoding,
) -> Result<(), Problem> {
    let given = given.strip_prefix(prefix).ok_or_else(invalid_signature)?;
    let signature = match encoding {
        Encoding::Hex => hex::decode(given).map_err(|_| invalid_signature())?,
        Encoding::Base64 => BASE64.decode(given).map_err(|_| invalid_signature())?,
    };
    let algorithm = match algorithm {
        Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Algorithm::Sha256 => hmac::HMAC_SHA256,
        Algorithm::Sha512 => hmac::HMAC_SHA512,
    };
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
    parts.iter().for_each(|part| context.update(part));
    let expected = context.sign();
    if bool::from(expected.as_ref().ct_eq(&signature)) {
        Ok(())
    } else {
        Err(invalid_signature())
    }
}
