//! OAuth2 client credentials: a token is fetched, kept, and replaced before it expires.

use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method};
use openconnect_core::Failure;
use openconnect_core::secret::Secret;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::endpoint::Endpoint;
use super::transport::Client;
use crate::authorization::{basic, bearer, sensitive};

/// How long before its end a token is replaced.
const REFRESH_MARGIN: Duration = Duration::from_secs(60);
/// Longest time that a token is used, in seconds.
const MAX_LIFETIME: f64 = 86_400.0;
/// Lifetime of a token whose response states none.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);

/// Where tokens come from.
pub(super) struct Oauth2Settings {
    pub(super) token_url: String,
    pub(super) client_id: String,
    pub(super) client_secret: Secret,
    pub(super) scopes: Vec<String>,
    pub(super) audience: Option<String>,
}

/// The current token of a client.
pub(super) struct Oauth2 {
    settings: Oauth2Settings,
    /// Locked while a token is fetched, so that concurrent requests wait for it instead of fetching their own.
    token: Mutex<Option<(HeaderValue, Instant)>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
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

/// The body of a token request.
fn form(scopes: &[String], audience: Option<&str>) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if !scopes.is_empty() {
        form.append_pair("scope", &scopes.join(" "));
    }
    if let Some(audience) = audience {
        form.append_pair("audience", audience);
    }
    form.finish()
}

impl Oauth2 {
    pub(super) fn new(settings: Oauth2Settings) -> Self {
        Self {
            settings,
            token: Mutex::new(None),
        }
    }

    /// The endpoint refused this token: fetch another for the next request, unless that has happened meanwhile.
    pub(super) async fn refused(&self, rejected: &HeaderValue) {
        self.token.lock().await.take_if(|(current, _)| current == rejected);
    }

    /// The header with a token that is valid now.
    pub(super) async fn header(&self, client: &Client) -> Result<HeaderValue, Failure> {
        let mut token = self.token.lock().await;
        if let Some((value, until)) = &*token
            && *until > Instant::now()
        {
            return Ok(value.clone());
        }
        let (value, lifetime) = self.fetch(client).await?;
        let early = REFRESH_MARGIN.min(lifetime / 2);
        *token = Some((value.clone(), Instant::now() + lifetime - early));
        Ok(value)
    }

    async fn fetch(&self, client: &Client) -> Result<(HeaderValue, Duration), Failure> {
        let failed = |what: String| Failure::retryable("HTTP_OAUTH2", format!("no token: {what}"));
        let Oauth2Settings {
            token_url,
            client_id,
            client_secret,
            scopes,
            audience,
        } = &self.settings;
        let basic =
            sensitive(&basic(client_id, client_secret.expose())).map_err(|_| failed("the credentials can't be sent in a header".into()))?;
        let endpoint = Endpoint::parse(token_url).map_err(|reason| failed(format!("the token URL {reason}")))?;
        let mut request = endpoint.request(Method::POST, form(scopes, audience.as_deref()).into_bytes());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(AUTHORIZATION, basic);
        let response = client.send(request).await.map_err(|failure| failed(failure.message))?;
        if !response.status.is_success() {
            return Err(failed(format!("the token server answered {}", response.status)));
        }
        let answer: TokenAnswer =
            serde_json::from_slice(&response.body).map_err(|_| failed("the token server's answer has no access_token".into()))?;
        let value = sensitive(&bearer(&answer.access_token)).map_err(|_| failed("the token can't be sent in a header".into()))?;
        Ok((value, answer.expires_in.map_or(DEFAULT_LIFETIME, |seconds| seconds.lifetime())))
    }
}
