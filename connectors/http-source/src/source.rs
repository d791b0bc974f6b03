//! The connector: opens the server, and hands requests to the core.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use openconnect_core::error::{Error, Result};
use openconnect_core::failure::Failure;
use openconnect_core::record::{NoPosition, Partition};
use openconnect_core::source::{Emitter, NoCommit, Replay, Source, SourceContext, SourceProfile};
use openconnect_http::server::{BodyLimits, Listener, RequestLog};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::codes;
use crate::config::HttpSourceConfig;
use crate::decode::Decoder;
use crate::server::{Batch, Server};

/// Requests that wait to be taken by the core.
const WAITING: usize = 4096;
/// Requests handed to the core at once.
const TAKE: usize = 256;
/// How long closing waits for answers that are being written.
const CLOSE: Duration = Duration::from_secs(5);

/// The HTTP source.
pub struct HttpSource {
    batches: mpsc::Receiver<Batch>,
    taken: Vec<Batch>,
    stop: CancellationToken,
    tracker: TaskTracker,
    address: std::net::SocketAddr,
}

impl HttpSource {
    /// The address that the server listens on.
    pub fn address(&self) -> std::net::SocketAddr {
        self.address
    }
}

impl Source for HttpSource {
    const NAME: &'static str = "http-source";
    type Config = HttpSourceConfig;
    type Position = NoPosition;
    type Committer = NoCommit;

    /// Its client sends again what was not answered with 2xx.
    fn profile(config: &HttpSourceConfig) -> SourceProfile {
        SourceProfile::new(Replay::ByCaller).with_accept(config.accept)
    }

    /// Opens the port and closes it again, and reads the certificate.
    async fn check(config: HttpSourceConfig) -> Result<()> {
        tls(&config)?;
        listen(&config).await.map(drop)
    }

    async fn open(config: HttpSourceConfig, cx: SourceContext<NoPosition>) -> Result<(Self, NoCommit)> {
        let tls = tls(&config)?;
        let socket = listen(&config).await?;
        let address = socket
            .local_addr()
            .map_err(|e| Error::unavailable(codes::HTTP_LISTEN, "source.listen: the address is not known").because(e))?;
        let (sender, batches) = mpsc::channel(WAITING);
        let server = Arc::new(Server {
            path: config.path.clone(),
            prefix: config.prefix,
            methods: config.methods.clone(),
            auth: config.auth.clone(),
            allowed_origins: config.allowed_origins.clone(),
            log: RequestLog::default(),
            limits: BodyLimits {
                bytes: config.max_body_bytes.as_usize(),
                ratio: config.max_decompression_ratio.max(1),
                time: config.read_timeout.0,
            },
            response_timeout: config.response_timeout.0,
            response_code: StatusCode::from_u16(config.response_code).unwrap_or(StatusCode::ACCEPTED),
            decoder: Decoder::new(&config.event, &cx.name)?,
            max_event_bytes: cx.max_event_bytes,
            budget: cx.budget,
            intake: cx.intake,
            batches: sender,
            partition: Partition::new("http"),
        });
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        tracing::info!(%address, path = config.path, "listening");
        let listener = Listener {
            socket,
            tls,
            max_connections: config.max_connections,
            read_timeout: config.read_timeout.0,
        };
        tracker.spawn(listener.serve(server, stop.clone(), tracker.clone()));
        let source = Self {
            batches,
            taken: Vec::new(),
            stop,
            tracker,
            address,
        };
        Ok((source, NoCommit))
    }

    async fn read(&mut self, out: &mut Emitter<NoPosition>) -> Result<(), Failure> {
        let count = self.batches.recv_many(&mut self.taken, TAKE).await;
        if count == 0 {
            return Err(Failure::fatal(
                codes::HTTP_STOPPED,
                "the server has stopped by itself; this is a bug",
            ));
        }
        out.emit_all(self.taken.drain(..).flatten()).await;
        Ok(())
    }

    /// Refuses what was not taken (its receipts say so), and lets the answers out.
    async fn close(mut self) -> Result<()> {
        self.stop.cancel();
        self.batches.close();
        while self.batches.try_recv().is_ok() {}
        self.tracker.close();
        if tokio::time::timeout(CLOSE, self.tracker.wait()).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        Ok(())
    }
}

fn tls(config: &HttpSourceConfig) -> Result<Option<TlsAcceptor>> {
    let server = config.tls.as_ref().map(|tls| tls.server(&[b"h2", b"http/1.1"]));
    Ok(server.transpose()?.map(TlsAcceptor::from))
}

async fn listen(config: &HttpSourceConfig) -> Result<TcpListener> {
    TcpListener::bind(&config.listen).await.map_err(|e| {
        Error::unavailable(codes::HTTP_LISTEN, format!("source.listen: {} can't be listened on", config.listen))
            .because(e)
            .hint("Another process may have the port, also this connector where it runs already; choose another.")
    })
}
