//! OAuth2 client credentials: a token is fetched, kept, and replaced before it expires.
//!
//! At most one token request is on its way. While there is a token that still holds, nobody waits for the next one but the request
//! that fetches it; without one, all wait for the same response. A refused token request answers everybody who waits, and everybody
//! who comes before its back-off is over, so that a token server in trouble is not flooded.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method};
use openconnect_core::backoff::Backoff;
use openconnect_core::secret::Secret;
use openconnect_core::{BoxError, Failure, FailureKind};
use schemars::JsonSchema;
use serde::Deserialize;

use super::endpoint::Endpoint;
use super::retry_after::retry_after;
use super::transport::Client;
use crate::authorization::{basic, bearer, sensitive};
use crate::codes;

/// How long before its end a token is replaced.
const REFRESH_MARGIN: Duration = Duration::from_secs(60);
/// How long before its end a token is used no more.
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);
/// Longest time that a token is used, in seconds.
const MAX_LIFETIME: f64 = 86_400.0;
/// Lifetime of a token whose response states none.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
/// Waits after refused token requests.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// How a client authenticates itself at the token endpoint (RFC 6749, section 2.3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthentication {
    /// In the header `Authorization` (`client_secret_basic`).
    #[default]
    Basic,
    /// In the body (`client_secret_post`).
    Post,
}

/// Where tokens come from.
pub(super) struct Oauth2Settings {
    pub(super) token_url: String,
    pub(super) client_id: String,
    pub(super) client_secret: Secret,
    pub(super) client_authentication: ClientAuthentication,
    pub(super) scopes: Vec<String>,
    pub(super) audience: Option<String>,
}

/// The current token of a client.
pub(super) struct Oauth2 {
    settings: Oauth2Settings,
    token: Mutex<Option<Token>>,
    /// Locked by the one request that fetches a token.
    fetching: tokio::sync::Mutex<Refusals>,
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    /// From then on the next request fetches another.
    refresh_at: Instant,
    /// From then on it is not used.
    expires_at: Instant,
}

/// What the last token requests came to.
#[derive(Default)]
struct Refusals {
    failures: u32,
    last: Option<(Failure, Instant)>,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    #[serde(default)]
    expires_in: Option<Seconds>,
}

/// A number of seconds; some servers write it as text or with a fraction.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

impl Seconds {
    fn lifetime(&self) -> Duration {
        let seconds = match self {
            Self::Number(seconds) => Some(*seconds),
            Self::Text(text) => text.trim().parse().ok(),
        };
        let bounded = seconds.map(|seconds| seconds.clamp(0.0, MAX_LIFETIME));
        bounded
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or(DEFAULT_LIFETIME)
    }
}

impl Token {
    fn new(header: HeaderValue, lifetime: Duration) -> Self {
        let now = Instant::now();
        Self {
            header,
            refresh_at: now + lifetime - REFRESH_MARGIN.min(lifetime / 2),
            expires_at: now + lifetime - EXPIRY_MARGIN.min(lifetime / 4),
        }
    }
}

impl Refusals {
    /// The failure that answers a request now, or `None` when a token may be asked for.
    fn active(&self) -> Option<Failure> {
        let (failure, until) = self.last.as_ref()?;
        let left = until.checked_duration_since(Instant::now())?;
        let mut failure = failure.clone();
        failure.kind = FailureKind::Retryable { after: Some(left) };
        Some(failure)
    }

    fn failed(&mut self, failure: &Failure, asked: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        let wait = BACKOFF.wait(self.failures, asked);
        self.last = Some((failure.clone(), Instant::now() + wait));
    }
}

impl Oauth2 {
    pub(super) fn new(settings: Oauth2Settings) -> Self {
        Self {
            settings,
            token: Mutex::new(None),
            fetching: tokio::sync::Mutex::new(Refusals::default()),
        }
    }

    /// The endpoint refused this token: fetch another for the next request, unless that has happened meanwhile.
    pub(super) fn refused(&self, rejected: &HeaderValue) {
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token.take_if(|token| token.header == rejected);
    }

    /// The header with a token that is valid now.
    pub(super) async fn header(&self, client: &Client) -> Result<HeaderValue, Failure> {
        let now = Instant::now();
        match self.current(now) {
            Some(token) if now < token.refresh_at => Ok(token.header),
            Some(token) => {
                // Ahead of time: the old token does as long as this does not work.
                let refreshed = match self.fetching.try_lock() {
                    Ok(mut refusals) => self.fetch(client, &mut refusals).await.ok(),
                    Err(_) => None,
                };
                Ok(refreshed.unwrap_or(token.header))
            }
            None => {
                let mut refusals = self.fetching.lock().await;
                match self.current(Instant::now()) {
                    Some(token) => Ok(token.header),
                    None => self.fetch(client, &mut refusals).await,
                }
            }
        }
    }

    fn current(&self, now: Instant) -> Option<Token> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token.as_ref().filter(|token| now < token.expires_at).cloned()
    }

    async fn fetch(&self, client: &Client, refusals: &mut Refusals) -> Result<HeaderValue, Failure> {
        if let Some(failure) = refusals.active() {
            return Err(failure);
        }
        match self.request(client).await {
            Ok(token) => {
                *refusals = Refusals::default();
                let header = token.header.clone();
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
                Ok(header)
            }
            Err((reason, asked)) => {
                let failure = Failure::retryable(codes::HTTP_OAUTH2, "no token").because(reason);
                refusals.failed(&failure, asked);
                Err(refusals.active().unwrap_or(failure))
            }
        }
    }

    /// One token request. The error says why there is no token, and how long the server asks to wait.
    async fn request(&self, client: &Client) -> Result<Token, (BoxError, Option<Duration>)> {
        let failed = |reason: BoxError| (reason, None);
        let endpoint = Endpoint::parse(&self.settings.token_url).map_err(|reason| failed(format!("the token URL {reason}").into()))?;
        let mut request = endpoint.request(Method::POST, self.settings.form().into_bytes());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        if self.settings.client_authentication == ClientAuthentication::Basic {
            let credentials = sensitive(&basic(&self.settings.client_id, self.settings.client_secret.expose()));
            let credentials = credentials.map_err(|_| failed("the credentials can't be sent in a header".into()))?;
            headers.insert(AUTHORIZATION, credentials);
        }
        let response = client.send(request).await.map_err(|failure| failed(failure.into()))?;
        if !response.status.is_success() {
            let reason = format!("the token server answered {}", response.status);
            return Err((reason.into(), retry_after(&response.headers)));
        }
        let token: Option<TokenResponse> = serde_json::from_slice(&response.body).ok();
        let token = token.filter(|token| !token.access_token.is_empty());
        let token = token.ok_or_else(|| failed("the token server's response has no access_token".into()))?;
        let header = sensitive(&bearer(&token.access_token)).map_err(|_| failed("the token can't be sent in a header".into()))?;
        Ok(Token::new(
            header,
            token.expires_in.map_or(DEFAULT_LIFETIME, |seconds| seconds.lifetime()),
        ))
    }
}

impl Oauth2Settings {
    /// The body of a token request.
    fn form(&self) -> String {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if self.client_authentication == ClientAuthentication::Post {
            form.append_pair("client_id", &self.client_id);
            form.append_pair("client_secret", self.client_secret.expose());
        }
        if !self.scopes.is_empty() {
            form.append_pair("scope", &self.scopes.join(" "));
        }
        if let Some(audience) = &self.audience {
            form.append_pair("audience", audience);
        }
        form.finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_token_is_asked_for_until_the_wait_after_a_refusal_is_over() {
        let failure = Failure::retryable(codes::HTTP_OAUTH2, "no token");
        for (asked, longest) in [(None, 1), (Some(600), 600), (Some(1 << 40), 3600)] {
            let mut refusals = Refusals::default();
            refusals.failed(&failure, asked.map(Duration::from_secs));
            let openconnect_core::FailureKind::Retryable { after: Some(left) } = refusals.active().unwrap().kind else {
                panic!("not retryable")
            };
            // The time until the assertion is not of interest.
            let longest = Duration::from_secs(longest);
            assert!((longest / 20..=longest).contains(&left), "{left:?}");
        }
    }

    #[test]
    fn a_token_is_refreshed_before_it_expires_however_short_it_lives() {
        for lifetime in [0, 1, 30, 300, 86_400].map(Duration::from_secs) {
            let token = Token::new(HeaderValue::from_static("x"), lifetime);
            assert!(token.refresh_at <= token.expires_at, "{lifetime:?}");
            assert!(token.expires_at <= Instant::now() + lifetime, "{lifetime:?}");
        }
        assert_eq!(Seconds::Text(" 3600 ".into()).lifetime(), Duration::from_secs(3600));
        assert_eq!(Seconds::Number(-1.0).lifetime(), Duration::ZERO);
        assert_eq!(Seconds::Number(f64::MAX).lifetime(), Duration::from_secs(86_400));
        assert_eq!(Seconds::Text("soon".into()).lifetime(), DEFAULT_LIFETIME);
    }
}
