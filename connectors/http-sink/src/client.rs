//! The HTTP client: connections that are kept, TLS, and one request within its time. It follows no redirect and asks no proxy:
//! the event, and its signature, go where the configuration says and nowhere else.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use openconnect_core::Failure;
use openconnect_protocol::http as binding;
use tokio::time::{Instant, timeout_at};
use url::{Position, Url};

use crate::auth::basic;

/// Of an answer's body no more is read than this.
const BODY: usize = 64 << 10;
/// A quiet connection is kept so long.
const IDLE: Duration = Duration::from_secs(90);
/// How often a quiet connection is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);

pub(crate) struct Client {
    inner: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

/// Where a request goes: a URL, and the credentials that it may have had in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    uri: Uri,
    credentials: Option<HeaderValue>,
}

impl Place {
    /// An absolute http(s) URL; the reason never repeats it, for it may hold a password.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|e| format!("is no URL: {e}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("must begin with http:// or https:// and name a host".into());
        }
        let [username, password] = [url.username(), url.password().unwrap_or_default()].map(|text| binding::decode(text.as_bytes()));
        let credentials = match (username, password) {
            (Some(username), Some(password)) if username.is_empty() && password.is_empty() => None,
            (Some(username), Some(password)) => basic(&username, &password).ok(),
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

    /// A request there, with the URL's own credentials.
    pub(crate) fn request(&self, method: Method, body: Vec<u8>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.uri.clone();
        if let Some(credentials) = &self.credentials {
            request.headers_mut().insert(AUTHORIZATION, credentials.clone());
        }
        request
    }
}

/// What an endpoint said.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Its beginning, as far as it came in time.
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// `timeout` is that of a request with its answer, and of a connection. `connections` are kept for each host.
    pub(crate) fn new(tls: rustls::ClientConfig, timeout: Duration, connections: usize) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEPALIVE));
        http.set_connect_timeout(Some(timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(http);
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(connections)
            .build(connector);
        Self { inner, timeout }
    }

    /// One attempt. A failure to get an answer is retryable; its text has neither URL nor credentials.
    pub(crate) async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let headers = request.headers_mut();
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(concat!(
            "openconnect-http-sink/",
            env!("CARGO_PKG_VERSION")
        )));
        let end = Instant::now() + self.timeout;
        let response = match timeout_at(end, self.inner.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(unanswered(&error)),
            Err(_) => {
                let text = format!("no answer came in {:?}", self.timeout);
                return Err(Failure::retryable("HTTP_TIMEOUT", text));
            }
        };
        let (head, incoming) = response.into_parts();
        let mut body = Vec::new();
        // Read to the end where possible, so that the connection can be used again.
        let _ = timeout_at(end, read(incoming, &mut body)).await;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

async fn read(mut incoming: Incoming, body: &mut Vec<u8>) {
    while body.len() < BODY
        && let Some(Ok(frame)) = incoming.frame().await
    {
        if let Ok(part) = frame.into_data() {
            body.extend_from_slice(&part[..part.len().min(BODY - body.len())]);
        }
    }
}

fn unanswered(error: &legacy::Error) -> Failure {
    let code = if error.is_connect() { "HTTP_CONNECT" } else { "HTTP_BROKEN" };
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        message = format!("{message}: {next}");
        cause = next.source();
    }
    Failure::retryable(code, message)
}
