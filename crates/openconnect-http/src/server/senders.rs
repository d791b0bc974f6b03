//! How known senders sign.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderMap;
use openconnect_core::secret::Secret;

use super::problem::Problem;
use super::signature::{Algorithm, Encoding, check_time, header_text, invalid_signature, verify};

/// What the secrets of Standard Webhooks begin with.
const STANDARD_SECRET: &str = "whsec_";

/// GitHub: `X-Hub-Signature-256: sha256=<hex>` over the body.
pub(super) fn github(secret: &Secret, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    let signature = header_text(headers, "x-hub-signature-256")?;
    verify(Algorithm::Sha256, key(secret), &[body], signature, "sha256=", Encoding::Hex)
}

/// Slack: `X-Slack-Signature: v0=<hex>` over version, time and body.
pub(super) fn slack(secret: &Secret, tolerance: Duration, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    let time = header_text(headers, "x-slack-request-timestamp")?;
    check_time(time, tolerance)?;
    let parts: [&[u8]; 4] = [b"v0:", time.as_bytes(), b":", body];
    let signature = header_text(headers, "x-slack-signature")?;
    verify(Algorithm::Sha256, key(secret), &parts, signature, "v0=", Encoding::Hex)
}

/// Stripe: `Stripe-Signature: t=<time>,v1=<hex>[,v1=…]` over time and body; one of several signatures is enough.
pub(super) fn stripe(secret: &Secret, tolerance: Duration, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    let header = header_text(headers, "stripe-signature")?;
    let field = |name| {
        header
            .split(',')
            .filter_map(move |part| part.trim().split_once('='))
            .filter(move |(key, _)| *key == name)
            .map(|(_, value)| value)
    };
    let time = field("t").next().ok_or_else(invalid_signature)?;
    check_time(time, tolerance)?;
    let parts: [&[u8]; 3] = [time.as_bytes(), b".", body];
    any_of(field("v1"), |signature| {
        verify(Algorithm::Sha256, key(secret), &parts, signature, "", Encoding::Hex)
    })
}

/// Standard Webhooks: `webhook-signature: v1,<base64>[ v1,…]` over id, time and body; one of several signatures is enough. Svix sends the
/// same with `svix-` before the names.
pub(super) fn standard_webhooks(secret: &Secret, tolerance: Duration, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    let [id, time, signatures] = match headers.contains_key("webhook-signature") {
        true => ["webhook-id", "webhook-timestamp", "webhook-signature"],
        false => ["svix-id", "svix-timestamp", "svix-signature"],
    }
    .map(|name| header_text(headers, name));
    let (id, time) = (id?, time?);
    check_time(time, tolerance)?;
    let key = standard_key(secret).ok_or_else(invalid_signature)?;
    let parts: [&[u8]; 5] = [id.as_bytes(), b".", time.as_bytes(), b".", body];
    any_of(signatures?.split_whitespace(), |signature| {
        verify(Algorithm::Sha256, &key, &parts, signature, "v1,", Encoding::Base64)
    })
}

/// The key in a secret of Standard Webhooks; `None` when it is not Base64.
pub(super) fn standard_key(secret: &Secret) -> Option<Vec<u8>> {
    let text = secret.expose();
    BASE64.decode(text.strip_prefix(STANDARD_SECRET).unwrap_or(text)).ok()
}

fn key(secret: &Secret) -> &[u8] {
    secret.expose().as_bytes()
}

fn any_of<'a>(signatures: impl Iterator<Item = &'a str>, check: impl FnMut(&'a str) -> Result<(), Problem>) -> Result<(), Problem> {
    signatures
        .map(check)
        .find(Result::is_ok)
        .unwrap_or_else(|| Err(invalid_signature()))
}
