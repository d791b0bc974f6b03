//! A listener: connections and their limits, TLS, orderly shutdown.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Largest head of a request, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// Most headers of a request.
const MAX_HEADERS: usize = 100;
/// Most HTTP/2 streams of a connection at the same time.
const MAX_STREAMS: u32 = 256;
/// The wait after a failed accept: without file descriptors, other connections must close first.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Answers requests. It is called for many requests at the same time.
pub trait Handler: Send + Sync + 'static {
    /// The response to one request. The future is dropped when the sender closes its connection.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

/// A bound port with its limits.
pub struct Listener {
    /// The bound socket.
    pub socket: TcpListener,
    /// TLS for every connection, or none.
    pub tls: Option<TlsAcceptor>,
    /// Most connections at the same time; further ones wait in the system's backlog.
    pub max_connections: usize,
    /// How long a client may take for its TLS handshake, and for the headers of a request.
    pub read_timeout: Duration,
}

impl Listener {
    /// Accepts connections until `stop`; then the requests in flight are finished and their connections closed. Each connection is a
    /// task of `tracker`: wait for that to know that the last response is sent.
    pub async fn serve<H: Handler>(self, handler: Arc<H>, stop: CancellationToken, tracker: TaskTracker) {
        let connections = Arc::new(Semaphore::new(self.max_connections));
        loop {
            let permit = tokio::select! {
                permit = Arc::clone(&connections).acquire_owned() => permit,
                () = stop.cancelled() => return,
            };
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let (tcp, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    tracing::warn!("a connection can't be accepted: {e}");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let _ = tcp.set_nodelay(true);
            let (handler, tls, stop, time) = (Arc::clone(&handler), self.tls.clone(), stop.clone(), self.read_timeout);
            tracker.spawn(async move {
                let _permit = permit;
                match tls {
                    None => connection(handler, tcp, time, stop).await,
                    Some(acceptor) => match tokio::time::timeout(time, acceptor.accept(tcp)).await {
                        Ok(Ok(stream)) => connection(handler, stream, time, stop).await,
                        Ok(Err(e)) => tracing::debug!(%peer, "TLS failed: {e}"),
                        Err(_) => tracing::debug!(%peer, "TLS took too long"),
                    },
                }
            });
        }
    }
}

async fn connection<H: Handler>(
    handler: Arc<H>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    time: Duration,
    stop: CancellationToken,
) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(time)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD as u32)
        .max_concurrent_streams(MAX_STREAMS);
    let service = service_fn(move |request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(handler.answer(request).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => if let Err(e) = ended { tracing::debug!("a connection ended: {e}") },
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            if let Err(e) = connection.await { tracing::debug!("a connection ended: {e}") }
        }
    }
}
