//! The HTTP client: pooled connections, TLS, and one request within its time. It follows no redirect: the event, and its signature, go
//! where the configuration says and nowhere else.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use openconnect_core::tls::{TlsSettings, without_roots};
use openconnect_core::{Failure, Result};
use tokio::time::{Instant, timeout_at};

use super::proxy::{Connector, Proxy};
use crate::codes;

/// Maximum response body read, in bytes.
const MAX_BODY: usize = 64 << 10;
/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Interval of TCP keep-alive probes on an idle connection.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How a [`Client`] connects.
pub struct ClientSettings {
    /// TLS: see [`client_tls`].
    pub tls: rustls::ClientConfig,
    /// Which requests go through which proxy.
    pub proxy: Proxy,
    /// How long a connection may take, and how long a request with its response.
    pub timeout: Duration,
    /// Idle connections kept for each host.
    pub idle_connections: usize,
    /// Value of `User-Agent`: the connector's name and version.
    pub user_agent: &'static str,
}

/// TLS for requests to `urls`. The system's authorities cost time and memory at start: they are loaded only where a URL is not
/// `http`.
///
/// # Errors
///
/// A file of the settings can't be read, or the system has no authorities.
pub fn client_tls<'a>(settings: &TlsSettings, urls: impl IntoIterator<Item = &'a str>) -> Result<rustls::ClientConfig> {
    if urls.into_iter().all(|url| url.starts_with("http://")) {
        Ok(without_roots()?)
    } else {
        Ok((*settings.client()?).clone())
    }
}

/// A client with a pool of connections. Share one: each has a pool of its own.
pub struct Client {
    inner: legacy::Client<HttpsConnector<Connector>, Full<Bytes>>,
    proxy: Proxy,
    timeout: Duration,
    user_agent: HeaderValue,
}

/// The response of an endpoint.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// The beginning of its body: at most 64 KiB, as far as it came in time.
    pub body: Vec<u8>,
}

impl Client {
    /// A client without a connection; connections are made by requests.
    pub fn new(settings: ClientSettings) -> Self {
        let ClientSettings {
            tls,
            proxy,
            timeout,
            idle_connections,
            user_agent,
        } = settings;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEPALIVE));
        http.set_connect_timeout(Some(timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(Connector {
                http,
                proxy: proxy.clone(),
            });
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(idle_connections)
            .build(connector);
        Self {
            inner,
            proxy,
            timeout,
            user_agent: HeaderValue::from_static(user_agent),
        }
    }

    /// One attempt: any response is `Ok`, whatever its status.
    ///
    /// # Errors
    ///
    /// No response came: `HTTP_CONNECT`, `HTTP_BROKEN` or `HTTP_TIMEOUT`, each retryable. The text has neither URL nor credentials.
    pub async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response, Failure> {
        let authorization = self.proxy.authorization(request.uri());
        let headers = request.headers_mut();
        if let Some(authorization) = authorization {
            headers.insert(PROXY_AUTHORIZATION, authorization);
        }
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        headers.entry(USER_AGENT).or_insert_with(|| self.user_agent.clone());
        let end = Instant::now() + self.timeout;
        let response = match timeout_at(end, self.inner.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(unanswered(error)),
            Err(_) => {
                let text = format!("no response came in {:?}", self.timeout);
                return Err(Failure::retryable(codes::HTTP_TIMEOUT, text));
            }
        };
        let (head, incoming) = response.into_parts();
        let mut body = Vec::new();
        // Read to the end where possible, so that the connection can be used again.
        let _ = timeout_at(end, read(incoming, &mut body)).await;
        Ok(Response {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

async fn read(mut incoming: Incoming, body: &mut Vec<u8>) {
    while body.len() < MAX_BODY
        && let Some(Ok(frame)) = incoming.frame().await
    {
        if let Ok(part) = frame.into_data() {
            body.extend_from_slice(&part[..part.len().min(MAX_BODY - body.len())]);
        }
    }
}

fn unanswered(error: legacy::Error) -> Failure {
    let code = if error.is_connect() {
        codes::HTTP_CONNECT
    } else {
        codes::HTTP_BROKEN
    };
    Failure::retryable(code, "no response came").because(error)
}
