//! Who may send: the `auth` section of a connector that receives requests. Everything is compared in constant time; signatures are
//! over the body as it was received.

use std::time::Duration;

use http::{HeaderMap, header};
use openconnect_core::duration::HumanDuration;
use openconnect_core::secret::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use super::signature::{Algorithm, Encoding, check_time, header_text, invalid_signature, verify};
use crate::authorization::{basic, bearer};

/// Largest age of a signature where the settings state none.
const TOLERANCE: Duration = Duration::from_secs(300);

/// Who may send.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Auth {
    /// Everyone who can connect.
    #[default]
    None,
    /// User and password.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A token in `Authorization: Bearer`.
    Bearer {
        /// The token.
        token: Secret,
    },
    /// `X-Hub-Signature-256`, as GitHub signs.
    Github {
        /// The webhook's secret.
        secret: Secret,
    },
    /// `Stripe-Signature`, as Stripe signs.
    Stripe {
        /// The endpoint's secret.
        secret: Secret,
        /// Largest age of a signature. Default 5m.
        tolerance: Option<HumanDuration>,
    },
    /// `X-Slack-Signature`, as Slack signs.
    Slack {
        /// The app's signing secret.
        secret: Secret,
        /// Largest age of a signature. Default 5m.
        tolerance: Option<HumanDuration>,
    },
    /// A keyed hash of the body in a header.
    Hmac {
        /// The key.
        secret: Secret,
        /// The header.
        header: String,
        /// What stands before the signature in the header, e.g. `sha256=`.
        #[serde(default)]
        prefix: String,
        /// Default hex.
        #[serde(default)]
        encoding: Encoding,
        /// Default sha256.
        #[serde(default)]
        algorithm: Algorithm,
    },
}

impl Auth {
    /// Checks what can be checked before the body is read, so that wrong credentials cost no memory.
    ///
    /// # Errors
    ///
    /// 401.
    pub fn check_head(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match self {
            Self::Basic { username, password } => credentials(
                headers,
                &basic(username, password.expose()),
                "Basic realm=\"openconnect\", charset=\"UTF-8\"",
            ),
            Self::Bearer { token } => credentials(headers, &bearer(token.expose()), "Bearer"),
            _ => Ok(()),
        }
    }

    /// Checks the signature of the body as it was received, before it is decompressed.
    ///
    /// # Errors
    ///
    /// 401.
    pub fn check_body(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
        match self {
            Self::None | Self::Basic { .. } | Self::Bearer { .. } => Ok(()),
            Self::Github { secret } => {
                let signature = header_text(headers, "x-hub-signature-256")?;
                verify(Algorithm::Sha256, secret.expose(), &[body], signature, "sha256=", Encoding::Hex)
            }
            Self::Hmac {
                secret,
                header,
                prefix,
                encoding,
                algorithm,
            } => verify(
                *algorithm,
                secret.expose(),
                &[body],
                header_text(headers, header)?,
                prefix,
                *encoding,
            ),
            Self::Slack { secret, tolerance } => {
                let time = header_text(headers, "x-slack-request-timestamp")?;
                check_time(time, tolerance.map_or(TOLERANCE, |t| t.0))?;
                let parts: [&[u8]; 4] = [b"v0:", time.as_bytes(), b":", body];
                verify(
                    Algorithm::Sha256,
                    secret.expose(),
                    &parts,
                    header_text(headers, "x-slack-signature")?,
                    "v0=",
                    Encoding::Hex,
                )
            }
            Self::Stripe { secret, tolerance } => stripe(
                secret.expose(),
                tolerance.map_or(TOLERANCE, |t| t.0),
                header_text(headers, "stripe-signature")?,
                body,
            ),
        }
    }
}

fn credentials(headers: &HeaderMap, expected: &str, scheme: &'static str) -> Result<(), Problem> {
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    if bool::from(given.ct_eq(expected.as_bytes())) {
        Ok(())
    } else {
        Err(Problem::unauthorized(scheme, "the credentials are missing or invalid_signature"))
    }
}

fn stripe(secret: &str, tolerance: Duration, header: &str, body: &[u8]) -> Result<(), Problem> {
    let field = |name| {
        header
            .split(',')
            .filter_map(move |part| part.trim().split_once('='))
            .filter(move |(key, _)| *key == name)
    };
    let time = field("t").next().map(|(_, time)| time).ok_or_else(invalid_signature)?;
    check_time(time, tolerance)?;
    let parts: [&[u8]; 3] = [time.as_bytes(), b".", body];
    field("v1")
        .map(|(_, signature)| verify(Algorithm::Sha256, secret, &parts, signature, "", Encoding::Hex))
        .find(Result::is_ok)
        .unwrap_or_else(|| Err(invalid_signature()))
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
        auth.check_body(&headers, b"Hello, World!").unwrap();
        assert_eq!(auth.check_body(&headers, b"Hello, World?").unwrap_err().status, 401);
        assert_eq!(auth.check_body(&HeaderMap::new(), b"Hello, World!").unwrap_err().status, 401);
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
        slack(old).check_body(&headers, body).unwrap();
        assert!(slack(None).check_body(&headers, body).is_err());
    }
}
