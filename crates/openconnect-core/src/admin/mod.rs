//! Health, metrics and status over HTTP: `/livez`, `/readyz`, `/metrics`, `/status`, which is JSON, and a page for a browser.
//!
//! The server is for probes and scrapers: one request a connection, small heads, few connections, short timeouts.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::codes;
use crate::error::{Error, Result};

mod metrics;
mod status;

pub use status::{Counts, Role, State, StatusHandle};
pub(crate) use status::{Flow, SpoolStatus, guarantee_name};

const MAX_CONNECTIONS: usize = 64;
const MAX_HEAD: usize = 16 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// Loads nothing from elsewhere; `default-src 'none'` holds it to that.
const STATUS_PAGE: &str = include_str!("status.html");
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'";
const UPKEEP: Duration = Duration::from_secs(5);

/// The admin server, bound and not yet serving.
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
    view: Arc<View>,
}

fn cannot_listen(listen: &str, error: std::io::Error) -> Error {
    Error::unavailable(codes::ADMIN_LISTEN, format!("admin.listen: can't listen on {listen}"))
        .because(error)
        .hint("Choose another port, or port 0 for a free one; the log then names it.")
}

/// What the server shows.
struct View {
    status: StatusHandle,
    version: &'static str,
    recorder: Option<PrometheusHandle>,
}

impl AdminServer {
    /// Binds `listen` (`host:port`). `recorder` adds what the connector itself records with the `metrics` crate.
    pub async fn bind(listen: &str, status: StatusHandle, version: &'static str, recorder: Option<PrometheusHandle>) -> Result<Self> {
        let failed = |e| cannot_listen(listen, e);
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tracing::info!(address = %address, "admin server listens");
        Ok(Self {
            listener,
            address,
            view: Arc::new(View { status, version, recorder }),
        })
    }

    /// Finds out whether an address can be listened on.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) async fn try_listen(listen: &str) -> Result<()> {
        TcpListener::bind(listen).await.map(drop).map_err(|e| cannot_listen(listen, e))
    }

    /// The real address, also when port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled.
    pub async fn serve(self, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        let mut upkeep = tokio::time::interval(UPKEEP);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = upkeep.tick() => if let Some(recorder) = &self.view.recorder { recorder.run_upkeep() },
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    // Over the cap a connection is closed at once: a probe tries again, a flood costs nothing.
                    Ok((stream, _)) => if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
                        let view = Arc::clone(&self.view);
                        connections.spawn(async move {
                            serve_connection(stream, view).await;
                            drop(slot);
                        });
                    },
                    Err(e) => {
                        tracing::warn!(error = %e, "admin server can't accept");
                        // Out of file handles, mostly: give them time to come back.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
        connections.shutdown().await;
    }
}

async fn serve_connection(stream: TcpStream, view: Arc<View>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&request, &view);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Garbage and half requests end here: they are the client's trouble.
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::debug!(error = %e, "admin connection"),
        Err(_) => tracing::debug!("admin connection timed out"),
    }
}

fn answer<B>(request: &Request<B>, view: &View) -> Response<Full<Bytes>> {
    let (method, path) = (request.method(), request.uri().path());
    if method != Method::GET && method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
        response
            .headers_mut()
            .insert(header::ALLOW, http::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match view.status.readiness() {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        "/metrics" => {
            let mut page = metrics::render(&view.status, view.version);
            if let Some(recorder) = &view.recorder {
                page.push_str(&recorder.render());
            }
            response(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page)
        }
        "/status" if wants_page(request) => {
            let mut page = response(StatusCode::OK, "text/html; charset=utf-8", STATUS_PAGE.to_owned());
            let headers = page.headers_mut();
            headers.insert(header::CONTENT_SECURITY_POLICY, http::HeaderValue::from_static(PAGE_POLICY));
            headers.insert(header::VARY, http::HeaderValue::from_static("accept"));
            page
        }
        "/status" => response(StatusCode::OK, "application/json", format!("{}\n", view.status.to_json())),
        _ => text(StatusCode::NOT_FOUND, "/livez /readyz /metrics /status\n"),
    }
}

/// Browsers name HTML first; programs name JSON, anything, or nothing.
fn wants_page<B>(request: &Request<B>) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.trim_start().starts_with("text/html"))
}

fn text(status: StatusCode, body: impl Into<String>) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", body.into())
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}
