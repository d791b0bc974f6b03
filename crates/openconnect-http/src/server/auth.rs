//! Who may send: the `auth` section of a connector that receives requests. Everything is compared in constant time; signatures are
//! over the body as it was received.

use http::{HeaderMap, header};
use openconnect_core::duration::HumanDuration;
use openconnect_core::secret::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use super::senders;
use super::signature::{Algorithm, Encoding, header_text, verify};
use crate::authorization::{basic, bearer};

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
        /// Largest age of a signature.
        #[serde(default = "default_tolerance")]
        tolerance: HumanDuration,
    },
    /// `X-Slack-Signature`, as Slack signs.
    Slack {
        /// The app's signing secret.
        secret: Secret,
        /// Largest age of a signature.
        #[serde(default = "default_tolerance")]
        tolerance: HumanDuration,
    },
    /// Standard Webhooks, as many services sign (also with the headers of Svix).
    #[serde(rename = "standard-webhooks")]
    StandardWebhooks {
        /// The endpoint's secret: Base64, usually after `whsec_`.
        secret: Secret,
        /// Largest age of a signature.
        #[serde(default = "default_tolerance")]
        tolerance: HumanDuration,
    },
    /// A secret in a header, as GitLab (`X-Gitlab-Token`), Telegram (`X-Telegram-Bot-Api-Secret-Token`) and API keys use it.
    Header {
        /// The header.
        header: String,
        /// Its value.
        secret: Secret,
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
        /// How the signature is written.
        #[serde(default)]
        encoding: Encoding,
        /// The hash.
        #[serde(default)]
        algorithm: Algorithm,
    },
}

fn default_tolerance() -> HumanDuration {
    HumanDuration::seconds(300)
}

impl Auth {
    /// What is wrong with the settings: the name of each wrong one below the section, and why.
    pub fn mistakes(&self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Hmac { header, .. } | Self::Header { header, .. } if http::HeaderName::from_bytes(header.as_bytes()).is_err() => {
                vec![("header", "is no header name")]
            }
            Self::StandardWebhooks { secret, .. } if senders::standard_key(secret).is_none() => {
                vec![("secret", "must be Base64, usually after `whsec_`")]
            }
            _ => Vec::new(),
        }
    }

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
            Self::Header { header, secret } => secret_header(headers, header, secret),
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
            Self::None | Self::Basic { .. } | Self::Bearer { .. } | Self::Header { .. } => Ok(()),
            Self::Github { secret } => senders::github(secret, headers, body),
            Self::Slack { secret, tolerance } => senders::slack(secret, tolerance.0, headers, body),
            Self::Stripe { secret, tolerance } => senders::stripe(secret, tolerance.0, headers, body),
            Self::StandardWebhooks { secret, tolerance } => senders::standard_webhooks(secret, tolerance.0, headers, body),
            Self::Hmac {
                secret,
                header,
                prefix,
                encoding,
                algorithm,
            } => verify(
                *algorithm,
                secret.expose().as_bytes(),
                &[body],
                header_text(headers, header)?,
                prefix,
                *encoding,
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

fn secret_header(headers: &HeaderMap, name: &str, secret: &Secret) -> Result<(), Problem> {
    let given = headers.get(name).map(|value| value.as_bytes()).unwrap_or_default();
    match bool::from(given.ct_eq(secret.expose().as_bytes())) {
        true => Ok(()),
        false => Err(Problem::unauthorized("Header", "the secret header is missing or wrong")),
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
            secret: Secret::new("It's a Secret to Everybody").unwrap(),
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
            secret: Secret::new("8f742231b10e8888abcd99yyyzzz85a5").unwrap(),
            tolerance,
        };
        let ages = HumanDuration::seconds(1 << 40);
        let mut headers = HeaderMap::new();
        headers.insert("x-slack-request-timestamp", HeaderValue::from_static("1531420618"));
        headers.insert(
            "x-slack-signature",
            HeaderValue::from_static("v0=563f42a495afa0a4d52eada0c4af95499b62a9cc8d0a2e0f0c65dd4c1587a69a"),
        );
        let body = b"token=xyzz0WbapA4vBCDEFxasq2G1&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIffN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        slack(ages).check_body(&headers, body).unwrap();
        assert!(slack(default_tolerance()).check_body(&headers, body).is_err());
    }

    /// The example of Svix's own libraries; the time is of 2022, hence the tolerance.
    #[test]
    fn a_standard_webhook_is_accepted_under_both_names_and_among_several_signatures() {
        let auth = |tolerance| Auth::StandardWebhooks {
            secret: Secret::new("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap(),
            tolerance,
        };
        let old = HumanDuration::seconds(1 << 40);
        let body = b"{\"email\":\"test@example.com\",\"username\":\"test_user\"}";
        for names in [
            ["webhook-id", "webhook-timestamp", "webhook-signature"],
            ["svix-id", "svix-timestamp", "svix-signature"],
        ] {
            let values = [
                "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
                "1649367553",
                "v1a,xxx v1,AAAA v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
            ];
            let mut headers: HeaderMap = names
                .into_iter()
                .zip(values)
                .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            auth(old).check_body(&headers, body).unwrap();
            assert!(auth(default_tolerance()).check_body(&headers, body).is_err());
            assert!(auth(old).check_body(&headers, b"{}").is_err());
            headers.insert(names[0], HeaderValue::from_static("another"));
            assert!(auth(old).check_body(&headers, body).is_err());
        }
        let mistaken = Auth::StandardWebhooks {
            secret: Secret::new("whsec_?").unwrap(),
            tolerance: default_tolerance(),
        };
        assert_eq!(mistaken.mistakes()[0].0, "secret");
    }

    #[test]
    fn a_secret_header_is_compared_as_a_whole() {
        let auth = Auth::Header {
            header: "X-Gitlab-Token".into(),
            secret: Secret::new("s3cret").unwrap(),
        };
        let check = |value| {
            let mut headers = HeaderMap::new();
            headers.insert("x-gitlab-token", HeaderValue::from_static(value));
            auth.check_head(&headers).map_err(|problem| problem.status.as_u16())
        };
        assert_eq!([check("s3cret"), check("s3cre"), check("")], [Ok(()), Err(401), Err(401)]);
        assert!(auth.check_head(&HeaderMap::new()).is_err());
        assert!(auth.mistakes().is_empty());
    }
}
