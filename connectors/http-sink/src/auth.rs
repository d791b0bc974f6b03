//! Credentials of a request: basic, bearer, OAuth2 client credentials.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderValue;
use openconnect_core::{Error, Failure, Result};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::answer::read_bounded;
use crate::config::Auth;

/// A token is renewed so long before it expires.
const EARLY: Duration = Duration::from_secs(60);
/// A token is renewed at least so often, in seconds.
const LONGEST: f64 = 86_400.0;
/// Lifetime of a token whose answer tells none.
const UNTOLD: Duration = Duration::from_secs(300);

/// Gives the `Authorization` header.
pub(crate) enum Credentials {
    None,
    Fixed(HeaderValue),
    Oauth2(Box<Oauth2>),
}

pub(crate) struct Oauth2 {
    settings: Auth,
    /// Held while a token is fetched: the others wait for it instead of fetching their own.
    token: Mutex<Option<(HeaderValue, Instant)>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    expires_in: Option<Seconds>,
}

/// A number, which some servers write as text, or with a fraction.
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
        let bounded = seconds.map(|seconds| seconds.clamp(0.0, LONGEST));
        bounded
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or(UNTOLD)
    }
}

fn secret_header(text: &str) -> Result<HeaderValue> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| Error::config("HTTP_CONFIG", "sink.auth: the credentials can't be sent in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Credentials {
    pub(crate) fn new(auth: &Auth) -> Result<Self> {
        Ok(match auth {
            Auth::None => Self::None,
            Auth::Basic { username, password } => Self::Fixed(secret_header(&format!(
                "Basic {}",
                BASE64.encode(format!("{username}:{}", password.expose()))
            ))?),
            Auth::Bearer { token } => Self::Fixed(secret_header(&format!("Bearer {}", token.expose()))?),
            Auth::Oauth2 { .. } => Self::Oauth2(Box::new(Oauth2 {
                settings: auth.clone(),
                token: Mutex::new(None),
            })),
        })
    }

    /// The header for a request now.
    pub(crate) async fn header(&self, client: &reqwest::Client) -> Result<Option<HeaderValue>, Failure> {
        match self {
            Self::None => Ok(None),
            Self::Fixed(value) => Ok(Some(value.clone())),
            Self::Oauth2(oauth2) => oauth2.header(client).await.map(Some),
        }
    }

    /// The endpoint refused these credentials: fetch new ones next time, unless that was done meanwhile.
    pub(crate) async fn refused(&self, rejected: &HeaderValue) {
        if let Self::Oauth2(oauth2) = self {
            oauth2.token.lock().await.take_if(|(current, _)| current == rejected);
        }
    }
}

impl Oauth2 {
    async fn header(&self, client: &reqwest::Client) -> Result<HeaderValue, Failure> {
        let mut token = self.token.lock().await;
        if let Some((value, until)) = &*token
            && *until > Instant::now()
        {
            return Ok(value.clone());
        }
        let (value, lifetime) = self.fetch(client).await?;
        let early = EARLY.min(lifetime / 2);
        *token = Some((value.clone(), Instant::now() + lifetime - early));
        Ok(value)
    }

    async fn fetch(&self, client: &reqwest::Client) -> Result<(HeaderValue, Duration), Failure> {
        let failed = |what: String| Failure::retryable("HTTP_OAUTH2", format!("no token: {what}"));
        let Auth::Oauth2 {
            token_url,
            client_id,
            client_secret,
            scopes,
            audience,
        } = &self.settings
        else {
            return Err(failed("OAuth2 is not configured".into()));
        };
        let mut form = vec![("grant_type", "client_credentials".to_owned())];
        if !scopes.is_empty() {
            form.push(("scope", scopes.join(" ")));
        }
        if let Some(audience) = audience {
            form.push(("audience", audience.clone()));
        }
        let request = client
            .post(token_url)
            .basic_auth(client_id, Some(client_secret.expose()))
            .form(&form);
        let response = request.send().await.map_err(|e| failed(e.without_url().to_string()))?;
        let status = response.status();
        if !status.is_success() {
            return Err(failed(format!("the token server answered {status}")));
        }
        let body = read_bounded(response).await.map_err(|e| failed(e.without_url().to_string()))?;
        let answer: TokenAnswer =
            serde_json::from_slice(&body).map_err(|_| failed("the token server's answer has no access_token".into()))?;
        let value =
            secret_header(&format!("Bearer {}", answer.access_token)).map_err(|_| failed("the token can't be sent in a header".into()))?;
        Ok((value, answer.expires_in.map_or(UNTOLD, |seconds| seconds.lifetime())))
    }
}
