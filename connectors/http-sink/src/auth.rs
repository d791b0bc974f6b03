//! Credentials of a request: basic, bearer, OAuth2 client credentials.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method};
use openconnect_core::{Error, Failure, Result};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::client::{Client, Place};
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

/// The header for a user name and a password.
pub(crate) fn basic(username: &str, password: &str) -> Result<HeaderValue> {
    secret_header(&format!("Basic {}", BASE64.encode(format!("{username}:{password}"))))
}

impl Credentials {
    pub(crate) fn new(auth: &Auth) -> Result<Self> {
        Ok(match auth {
            Auth::None => Self::None,
            Auth::Basic { username, password } => Self::Fixed(basic(username, password.expose())?),
            Auth::Bearer { token } => Self::Fixed(secret_header(&format!("Bearer {}", token.expose()))?),
            Auth::Oauth2 { .. } => Self::Oauth2(Box::new(Oauth2 {
                settings: auth.clone(),
                token: Mutex::new(None),
            })),
        })
    }

    /// The header for a request now.
    pub(crate) async fn header(&self, client: &Client) -> Result<Option<HeaderValue>, Failure> {
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

/// What a token is asked for with.
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
    async fn header(&self, client: &Client) -> Result<HeaderValue, Failure> {
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

    async fn fetch(&self, client: &Client) -> Result<(HeaderValue, Duration), Failure> {
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
        let basic = basic(client_id, client_secret.expose()).map_err(|_| failed("the credentials can't be sent in a header".into()))?;
        let place = Place::parse(token_url).map_err(|reason| failed(format!("the token URL {reason}")))?;
        let mut request = place.request(Method::POST, form(scopes, audience.as_deref()).into_bytes());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(AUTHORIZATION, basic);
        let response = client.send(request).await.map_err(|failure| failed(failure.message))?;
        if !response.status.is_success() {
            return Err(failed(format!("the token server answered {}", response.status)));
        }
        let answer: TokenAnswer =
            serde_json::from_slice(&response.body).map_err(|_| failed("the token server's answer has no access_token".into()))?;
        let value =
            secret_header(&format!("Bearer {}", answer.access_token)).map_err(|_| failed("the token can't be sent in a header".into()))?;
        Ok((value, answer.expires_in.map_or(UNTOLD, |seconds| seconds.lifetime())))
    }
}
