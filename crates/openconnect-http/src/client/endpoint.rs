//! Where a request goes.

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use openconnect_protocol::http as binding;
use url::{Position, Url};

use crate::authorization::{basic, sensitive};

/// Where a request goes: a URL, and the credentials that it may have had in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    uri: Uri,
    credentials: Option<HeaderValue>,
}

impl Endpoint {
    /// An absolute http(s) URL.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the URL without repeating it, because it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|e| format!("is no URL: {e}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("must begin with http:// or https:// and name a host".into());
        }
        let [username, password] = [url.username(), url.password().unwrap_or_default()].map(|text| binding::decode(text.as_bytes()));
        let credentials = match (username, password) {
            (Some(username), Some(password)) if username.is_empty() && password.is_empty() => None,
            (Some(username), Some(password)) => sensitive(&basic(&username, &password)).ok(),
            _ => None,
        };
        // Only a URL without a host refuses that.
        let _ = (url.set_username(""), url.set_password(None));
        Ok(Self {
            uri: url[..Position::AfterQuery]
                .parse()
                .map_err(|e| format!("can't be asked for: {e}"))?,
            credentials,
        })
    }

    /// A request to this endpoint, with the credentials of its URL.
    pub fn request(&self, method: Method, body: Vec<u8>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.uri.clone();
        if let Some(credentials) = &self.credentials {
            request.headers_mut().insert(AUTHORIZATION, credentials.clone());
        }
        request
    }
}
