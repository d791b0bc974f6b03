//! The way to an endpoint: directly, or through an HTTP proxy.
//!
//! An `https` endpoint is reached through a tunnel (CONNECT), in which TLS ends at the endpoint. Requests to an `http` endpoint are sent
//! to the proxy, which sees them as the network would.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::uri::Scheme;
use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use openconnect_core::secret::Secret;
use tokio::net::TcpStream;
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Which requests go through which proxy.
#[derive(Clone)]
pub struct Proxy {
    matcher: Arc<Matcher>,
    /// The proxy of the environment is not for what runs on this machine.
    spares_loopback: bool,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").finish_non_exhaustive()
    }
}

impl Proxy {
    /// The proxy of a setting, `http://[user:password@]host[:port]`, for every request. Without the setting, that of the environment
    /// (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, but for `NO_PROXY` and this machine itself).
    ///
    /// # Errors
    ///
    /// What is wrong with the setting. It is not repeated: it may hold a password.
    pub fn new(setting: Option<&Secret>) -> Result<Self, &'static str> {
        let Some(setting) = setting else {
            return Ok(Self {
                matcher: Arc::new(Matcher::from_env()),
                spares_loopback: true,
            });
        };
        let url = url::Url::parse(setting.expose()).map_err(|_| "is not a URL, such as http://proxy.example.com:3128")?;
        if url.scheme() != "http" || url.host_str().is_none_or(str::is_empty) {
            return Err("is not the URL of an HTTP proxy, such as http://proxy.example.com:3128");
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err("has more than a host and a port");
        }
        Ok(Self {
            matcher: Arc::new(Matcher::builder().all(setting.expose()).build()),
            spares_loopback: false,
        })
    }

    /// The credentials that a request itself must carry: those for a proxy that it is not tunnelled through.
    pub(super) fn authorization(&self, target: &Uri) -> Option<HeaderValue> {
        if target.scheme() != Some(&Scheme::HTTP) {
            return None;
        }
        self.via(target)?.basic_auth().cloned()
    }

    fn via(&self, target: &Uri) -> Option<hyper_util::client::proxy::matcher::Intercept> {
        let is_direct = || self.spares_loopback && target.host().is_none_or(is_loopback);
        self.matcher.intercept(target).filter(|_| !is_direct())
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or_else(|_| host.eq_ignore_ascii_case("localhost"), |address| address.is_loopback())
}

/// Connects to endpoints.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    pub(super) http: HttpConnector,
    pub(super) proxy: Proxy,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let mut http = self.http.clone();
        let via = self.proxy.via(&target);
        Box::pin(async move {
            let Some(via) = via else {
                let stream = http.call(target).await?;
                return Ok(Stream { stream, to_proxy: false });
            };
            if via.uri().scheme() != Some(&Scheme::HTTP) {
                return Err("the proxy of the environment is not one that speaks HTTP (http://host:port)".into());
            }
            if target.scheme() == Some(&Scheme::HTTP) {
                let stream = http.call(via.uri().clone()).await?;
                return Ok(Stream { stream, to_proxy: true });
            }
            let mut tunnel = Tunnel::new(via.uri().clone(), http);
            if let Some(authorization) = via.basic_auth() {
                tunnel = tunnel.with_auth(authorization.clone());
            }
            let stream = tunnel.call(target).await?;
            Ok(Stream { stream, to_proxy: false })
        })
    }
}

/// A connection to an endpoint, or to the proxy before it.
#[derive(Debug)]
pub(super) struct Stream {
    stream: TokioIo<TcpStream>,
    /// Requests name the whole URL then.
    to_proxy: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.to_proxy)
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use http::Method;
    use openconnect_core::tls::without_roots;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::client::{Client, ClientSettings, Endpoint};

    /// Answers each request with `answer`; gives the heads of the requests that came.
    async fn toy_proxy(answer: &'static str) -> (std::net::SocketAddr, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(head).unwrap()
        });
        (address, serving)
    }

    fn client(proxy: Proxy) -> Client {
        Client::new(ClientSettings {
            tls: without_roots().unwrap(),
            proxy,
            timeout: Duration::from_secs(10),
            idle_connections: 1,
            user_agent: "toy/1",
        })
    }

    fn setting(text: &str) -> Secret {
        serde_json::from_value(text.into()).unwrap()
    }

    #[tokio::test]
    async fn a_request_goes_through_the_proxy_with_its_credentials() {
        let ok = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        let (address, proxy) = toy_proxy(ok).await;
        let client = client(Proxy::new(Some(&setting(&format!("http://user:p%40ss@{address}")))).unwrap());
        let endpoint = Endpoint::parse("http://target.invalid:81/in?a=b").unwrap();
        let response = client.send(endpoint.request(Method::POST, b"x".to_vec())).await.unwrap();
        assert_eq!(response.status, 204);
        let head = proxy.await.unwrap();
        assert!(head.starts_with("POST http://target.invalid:81/in?a=b HTTP/1.1\r\n"), "{head}");
        // user:p@ss
        assert!(head.to_lowercase().contains("proxy-authorization: basic"), "{head}");
        assert!(head.contains("dXNlcjpwQHNz"), "{head}");
    }

    #[tokio::test]
    async fn https_goes_through_a_tunnel_that_sees_no_header() {
        let (address, proxy) = toy_proxy("HTTP/1.1 200 OK\r\n\r\n").await;
        let client = client(Proxy::new(Some(&setting(&format!("http://user:p%40ss@{address}")))).unwrap());
        let endpoint = Endpoint::parse("https://secret:token@target.invalid/in").unwrap();
        // The toy speaks no TLS.
        let failure = client.send(endpoint.request(Method::POST, Vec::new())).await.unwrap_err();
        assert_eq!(failure.code, "HTTP_CONNECT");
        let head = proxy.await.unwrap();
        assert!(head.starts_with("CONNECT target.invalid:443 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("dXNlcjpwQHNz"), "{head}");
        assert!(
            !head.contains("/in") && !head.to_lowercase().contains("\r\nauthorization"),
            "{head}"
        );
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_a_retryable_failure() {
        let (address, _proxy) = toy_proxy("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        let client = client(Proxy::new(Some(&setting(&format!("http://{address}")))).unwrap());
        let endpoint = Endpoint::parse("https://target.invalid/in").unwrap();
        let failure = client.send(endpoint.request(Method::POST, Vec::new())).await.unwrap_err();
        assert!(
            matches!(failure.kind, openconnect_core::FailureKind::Retryable { .. }),
            "{failure:?}"
        );
    }

    #[test]
    fn what_is_no_http_proxy_is_refused_without_its_password() {
        for wrong in [
            "proxy:3128",
            "https://u:s3cret@proxy",
            "socks5://proxy",
            "http://",
            "http://u:s3cret@proxy/path",
            "http://proxy?x",
        ] {
            let reason = Proxy::new(Some(&setting(wrong))).unwrap_err();
            assert!(!reason.contains("s3cret"), "{wrong}: {reason}");
        }
        for fine in ["http://proxy", "http://u:p@proxy:3128/", "http://[::1]:3128"] {
            assert!(Proxy::new(Some(&setting(fine))).is_ok(), "{fine}");
        }
    }

    #[test]
    fn this_machine_is_not_reached_through_the_proxy_of_the_environment() {
        for (host, here) in [
            ("127.0.0.1", true),
            ("[::1]", true),
            ("LOCALHOST", true),
            ("127.1.2.3", true),
            ("10.0.0.1", false),
            ("localhost.example.com", false),
        ] {
            assert_eq!(is_loopback(host), here, "{host}");
        }
    }
}
