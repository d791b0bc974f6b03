//! Who may send: checked in constant time, signatures over the body as it came.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, header};
use ring::hmac;
use subtle::ConstantTimeEq as _;

use crate::config::{Algorithm, Auth, Encoding};
use crate::problem::Problem;

const TOLERANCE: Duration = Duration::from_secs(300);

/// Checks what can be checked before the body is read: bad credentials cost no memory.
pub(crate) fn check_head(auth: &Auth, headers: &HeaderMap) -> Result<(), Problem> {
    match auth {
        Auth::Basic { username, password } => {
            let expected = format!("Basic {}", BASE64.encode(format!("{username}:{}", password.expose())));
            credentials(headers, &expected, "Basic realm=\"openconnect\", charset=\"UTF-8\"")
        }
        Auth::Bearer { token } => credentials(headers, &format!("Bearer {}", token.expose()), "Bearer"),
        _ => Ok(()),
    }
}

fn credentials(headers: &HeaderMap, expected: &str, scheme: &'static str) -> Result<(), Problem> {
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    if bool::from(given.ct_eq(expected.as_bytes())) {
        Ok(())
    } else {
        Err(Problem::unauthorized(scheme, "the credentials are missing or wrong"))
    }
}

/// Checks the signature over the body.
pub(crate) fn check_body(auth: &Auth, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    match auth {
        Auth::None | Auth::Basic { .. } | Auth::Bearer { .. } => Ok(()),
        Auth::Github { secret } => {
            let signature = text(headers, "x-hub-signature-256")?;
            verify(Algorithm::Sha256, secret.expose(), &[body], signature, "sha256=", Encoding::Hex)
        }
        Auth::Hmac {
            secret,
            header,
            prefix,
            encoding,
            algorithm,
        } => verify(*algorithm, secret.expose(), &[body], text(headers, header)?, prefix, *encoding),
        Auth::Slack { secret, tolerance } => {
            let time = text(headers, "x-slack-request-timestamp")?;
            fresh(time, tolerance.map_or(TOLERANCE, |t| t.0))?;
            let parts: [&[u8]; 4] = [b"v0:", time.as_bytes(), b":", body];
            verify(
                Algorithm::Sha256,
                secret.expose(),
                &parts,
                text(headers, "x-slack-signature")?,
                "v0=",
                Encoding::Hex,
            )
        }
        Auth::Stripe { secret, tolerance } => stripe(
            secret.expose(),
            tolerance.map_or(TOLERANCE, |t| t.0),
            text(headers, "stripe-signature")?,
            body,
        ),
    }
}

fn stripe(secret: &str, tolerance: Duration, header: &str, body: &[u8]) -> Result<(), Problem> {
    let field = |name| {
        header
            .split(',')
            .filter_map(move |part| part.trim().split_once('='))
            .filter(move |(key, _)| *key == name)
    };
    let time = field("t").next().map(|(_, time)| time).ok_or_else(wrong)?;
    fresh(time, tolerance)?;
    let parts: [&[u8]; 3] = [time.as_bytes(), b".", body];
    field("v1")
        .map(|(_, signature)| verify(Algorithm::Sha256, secret, &parts, signature, "", Encoding::Hex))
        .find(Result::is_ok)
        .unwrap_or_else(|| Err(wrong()))
}

fn wrong() -> Problem {
    Problem::unauthorized("Signature", "the signature is missing or wrong")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Problem> {
    headers.get(name).and_then(|value| value.to_str().ok()).ok_or_else(wrong)
}

fn fresh(time: &str, tolerance: Duration) -> Result<(), Problem> {
    let time: u64 = time.parse().map_err(|_| wrong())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if now.abs_diff(time) <= tolerance.as_secs() {
        Ok(())
    } else {
        Err(Problem::unauthorized("Signature", "the signature is too old"))
    }
}

fn verify(algorithm: Algorithm, secret: &str, parts: &[&[u8]], given: &str, prefix: &str, encoding: Encoding) -> Result<(), Problem> {
    let given = given.strip_prefix(prefix).ok_or_else(wrong)?;
    let signature = match encoding {
        Encoding::Hex => hex::decode(given).map_err(|_| wrong())?,
        Encoding::Base64 => BASE64.decode(given).map_err(|_| wrong())?,
    };
    let algorithm = match algorithm {
        Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Algorithm::Sha256 => hmac::HMAC_SHA256,
        Algorithm::Sha512 => hmac::HMAC_SHA512,
    };
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, secret.as_bytes()));
    parts.iter().for_each(|part| context.update(part));
    let expected = context.sign();
    if bool::from(expected.as_ref().ct_eq(&signature)) {
        Ok(())
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::HeaderValue;
    use openconnect_core::secret::Secret;

    /// GitHub's own example: docs, "Validating webhook deliveries".
    #[test]
    fn githubs_published_example_is_accepted_and_a_changed_body_is_not() {
        let auth = Auth::Github {
            secret: Secret::new("It's a Secret to Everybody"),
        };
        let mut headers = HeaderMap::new();
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        headers.insert("x-hub-signature-256", HeaderValue::from_static(signature));
        check_body(&auth, &headers, b"Hello, World!").unwrap();
        assert_eq!(check_body(&auth, &headers, b"Hello, World?").unwrap_err().status, 401);
        assert_eq!(check_body(&auth, &HeaderMap::new(), b"Hello, World!").unwrap_err().status, 401);
    }

    /// Signed by another implementation of Slack's scheme; the time is of 2018, hence the tolerance.
    #[test]
    fn a_slack_signature_is_accepted_but_only_while_fresh() {
        let slack = |tolerance| Auth::Slack {
            secret: Secret::new("8f742231b10e8888abcd99yyyzzz85a5"),
            tolerance,
        };
        let old = Some(openconnect_core::duration::HumanDuration(Duration::from_secs(1 << 40)));
        let mut headers = HeaderMap::new();
        headers.insert("x-slack-request-timestamp", HeaderValue::from_static("1531420618"));
        headers.insert(
            "x-slack-signature",
            HeaderValue::from_static("v0=563f42a495afa0a4d52eada0c4af95499b62a9cc8d0a2e0f0c65dd4c1587a69a"),
        );
        let body = b"token=xyzz0WbapA4vBCDEFxasq2G1&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIffN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        check_body(&slack(old), &headers, body).unwrap();
        assert!(check_body(&slack(None), &headers, body).is_err());
    }
}
