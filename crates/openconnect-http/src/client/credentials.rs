//! The `auth` section of a connector that sends requests, and the header that it gives.

use http::HeaderValue;
use openconnect_core::secret::Secret;
use openconnect_core::{Error, Failure, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::oauth2::{ClientAuthentication, Oauth2, Oauth2Settings};
use super::transport::Client;
use crate::authorization::{basic, bearer, sensitive};
use crate::codes;

/// How the connector authenticates itself.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// User and password.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A token.
    Bearer {
        /// The token.
        token: Secret,
    },
    /// OAuth2 client credentials; the token is renewed before it expires.
    Oauth2 {
        /// URL of the token endpoint.
        token_url: String,
        /// The client.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
        /// How the client shows its secret to the token endpoint. Default `basic`.
        #[serde(default)]
        client_authentication: ClientAuthentication,
        /// Scopes to ask for.
        #[serde(default)]
        scopes: Vec<String>,
        /// Audience to ask for, where the server wants one.
        audience: Option<String>,
    },
}

impl Auth {
    /// The URL that tokens come from, with OAuth2.
    pub fn token_url(&self) -> Option<&str> {
        match self {
            Self::Oauth2 { token_url, .. } => Some(token_url),
            _ => None,
        }
    }
}

/// Gives requests their `Authorization` header.
pub struct Credentials(Kind);

enum Kind {
    None,
    Fixed(HeaderValue),
    Oauth2(Box<Oauth2>),
}

impl Credentials {
    /// # Errors
    ///
    /// The credentials have characters that no header may have.
    pub fn new(auth: &Auth) -> Result<Self> {
        let fixed = |text: String| {
            let value = sensitive(&text);
            value.map_err(|_| Error::config(codes::HTTP_CONFIG, "the credentials of `auth` can't be sent in a header"))
        };
        Ok(Self(match auth {
            Auth::None => Kind::None,
            Auth::Basic { username, password } => Kind::Fixed(fixed(basic(username, password.expose()))?),
            Auth::Bearer { token } => Kind::Fixed(fixed(bearer(token.expose()))?),
            Auth::Oauth2 {
                token_url,
                client_id,
                client_secret,
                client_authentication,
                scopes,
                audience,
            } => Kind::Oauth2(Box::new(Oauth2::new(Oauth2Settings {
                token_url: token_url.clone(),
                client_id: client_id.clone(),
                client_secret: client_secret.clone(),
                client_authentication: *client_authentication,
                scopes: scopes.clone(),
                audience: audience.clone(),
            }))),
        }))
    }

    /// The header for a request that is sent now; with OAuth2 this may wait for a token.
    ///
    /// # Errors
    ///
    /// There is no token: retryable, `HTTP_OAUTH2`, after the back-off of the token server.
    pub async fn header(&self, client: &Client) -> Result<Option<HeaderValue>, Failure> {
        match &self.0 {
            Kind::None => Ok(None),
            Kind::Fixed(value) => Ok(Some(value.clone())),
            Kind::Oauth2(oauth2) => oauth2.header(client).await.map(Some),
        }
    }

    /// The endpoint refused this header: with OAuth2 the next request gets another token.
    pub fn refused(&self, rejected: &HeaderValue) {
        if let Kind::Oauth2(oauth2) = &self.0 {
            oauth2.refused(rejected);
        }
    }
}
