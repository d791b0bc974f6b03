//! Connections to the servers of `mesh.url`, and one TCP session: HELLO, and the buffers between frames and the socket.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use openconnect_protocol::extension;
use openconnect_protocol::frame::{Command, Frame, FrameCodec, FrameError, Header, RawFrame, encode};
use openconnect_protocol::refusal::RefusalKind;
use openconnect_protocol::session::{Purpose, RedirectInfo, UserAgent};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::grpc::GrpcSession;
use super::route::{Candidate, Route};
use super::url::{MeshUrl, Server, Transport};
use super::{Capabilities, MeshStatus, refused};
use crate::backoff::Backoff;
use crate::codes;
use crate::config::MeshSettings;
use crate::error::{BoxError, Result};
use crate::failure::Failure;

/// The largest frame taken: four times EventMesh's own limit, for servers that were given a larger one.
const MAX_FRAME: usize = 16 << 20;
/// A read takes at most this much at once.
const READ: usize = 256 << 10;
const DESC: usize = 300;
/// Frames that may come before the answer that is waited for.
const EARLY: usize = 1024;

/// Everything needed to set up sessions, again and again.
pub(crate) struct Dialer {
    url: MeshUrl,
    group: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<crate::secret::Secret>,
    token: Option<crate::secret::Secret>,
    tls: Option<(Arc<rustls::ClientConfig>, Option<String>)>,
    /// Tells this client from all others, on every machine: EventMesh identifies gRPC clients by it.
    pub(super) pid: u32,
    pub(crate) request_timeout: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) reconnect_max: Duration,
}

impl Dialer {
    pub(crate) fn new(settings: &MeshSettings, group: &str) -> Result<Self> {
        let url = MeshUrl::parse(&settings.url).map_err(|reason| crate::Error::config(codes::MESH_URL, format!("mesh.url {reason}")))?;
        let tls = if url.tls {
            Some((settings.tls.client()?, settings.tls.server_name.clone()))
        } else {
            None
        };
        Ok(Self {
            url,
            group: group.to_owned(),
            username: settings.username.clone(),
            password: settings.password.clone(),
            token: settings.token.clone(),
            tls,
            pid: rand::random_range(1..=i32::MAX.unsigned_abs()),
            request_timeout: settings.request_timeout.0,
            heartbeat: settings.heartbeat.0,
            reconnect_max: settings.reconnect_max.0,
        })
    }

    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    pub(crate) fn transport(&self) -> Transport {
        self.url.transport
    }

    /// Sets up a TCP session with the first server on the route that answers.
    pub(crate) async fn dial(&self, route: &mut Route, purpose: Purpose) -> std::result::Result<Session, Failure> {
        let candidates = route.candidates(&self.url.servers);
        self.first(route, &candidates, |server| self.session(server, purpose)).await
    }

    /// As [`Self::dial`], over gRPC.
    pub(super) async fn dial_grpc(self: &Arc<Self>, route: &mut Route) -> std::result::Result<GrpcSession, Failure> {
        let candidates = route.candidates(&self.url.servers);
        self.first(route, &candidates, |server| self.grpc_session(server)).await
    }

    /// The first session that stands. A fatal failure ends the search.
    async fn first<'a, T, F>(
        &self,
        route: &mut Route,
        candidates: &'a [Candidate],
        open: impl Fn(&'a Server) -> F,
    ) -> std::result::Result<T, Failure>
    where
        F: Future<Output = std::result::Result<T, Failure>>,
    {
        let mut last = Failure::retryable(codes::MESH_UNREACHABLE, "mesh.url names no server");
        for candidate in candidates {
            let server = &candidate.server;
            match timeout(self.request_timeout, open(server)).await {
                Ok(Ok(session)) => {
                    route.stands(candidate);
                    return Ok(session);
                }
                Ok(Err(failure)) if !failure.is_retryable() => return Err(failure),
                Ok(Err(failure)) => last = failure,
                Err(_) => {
                    last = Failure::retryable(
                        codes::MESH_UNREACHABLE,
                        format!("{server} did not answer within {:?}", self.request_timeout),
                    )
                }
            }
        }
        Err(last)
    }

    /// A connection to the server; with TLS, `protocols` are offered.
    pub(super) async fn socket(&self, server: &Server, protocols: &[&[u8]]) -> std::result::Result<Socket, Failure> {
        let unreachable = |e: std::io::Error| Failure::retryable(codes::MESH_UNREACHABLE, format!("{server} can't be reached")).because(e);
        let tcp = TcpStream::connect((server.host.as_str(), server.port)).await.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        Ok(match &self.tls {
            None => Socket::Plain(tcp),
            Some((config, name)) => {
                let name = ServerName::try_from(name.clone().unwrap_or_else(|| server.host.clone()))
                    .map_err(|_| Failure::fatal(codes::MESH_TLS, format!("`{}` is no name to verify a certificate for", server.host)))?;
                let mut config = rustls::ClientConfig::clone(config);
                config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
                let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
                let tls = connector
                    .connect(name, tcp)
                    .await
                    .map_err(|e| Failure::retryable(codes::MESH_TLS, format!("TLS with {server} failed")).because(e))?;
                Socket::Tls(Box::new(tls))
            }
        })
    }

    async fn session(&self, server: &Server, purpose: Purpose) -> std::result::Result<Session, Failure> {
        let socket = self.socket(server, &[]).await?;
        let mut session = Session {
            socket,
            early: VecDeque::new(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            capabilities: super::assumed(false),
            many_acks: false,
            server: server.to_string(),
        };
        session.hello(self, purpose).await?;
        Ok(session)
    }

    fn agent(&self, purpose: Purpose) -> UserAgent {
        UserAgent {
            env: Some("env".into()),
            subsystem: Some("openconnect".into()),
            pid: i64::from(std::process::id()),
            host: Some("localhost".into()),
            username: Some(self.username.clone().unwrap_or_default()),
            password: Some(self.password.as_ref().map(|p| p.expose().to_owned()).unwrap_or_default()),
            token: self.token.as_ref().map(|t| t.expose().to_owned()),
            idc: Some("default".into()),
            group: Some(self.group.clone()),
            purpose: Some(if purpose == Purpose::Pub { "pub" } else { "sub" }.into()),
            ..UserAgent::default()
        }
    }
}

const FIRST_WAIT: Duration = Duration::from_millis(50);
/// A session that lasted this long was one.
const STOOD: Duration = Duration::from_secs(2);

/// The attempts to have a session.
pub(super) struct Reconnect {
    backoff: Backoff,
    /// Those that came to nothing, in a row.
    failures: u32,
}

impl Reconnect {
    pub(super) fn new(max: Duration) -> Self {
        Self {
            backoff: Backoff::new(FIRST_WAIT, max),
            failures: 0,
        }
    }

    /// A session is over. The next attempt comes at once again when it did something or stood for a while: a server that
    /// takes connections and drops them is not to be hammered.
    pub(super) fn after(&mut self, began: Instant, useful: bool) {
        if useful || began.elapsed() > STOOD {
            self.failures = 0;
        }
    }

    /// Waits for the next attempt.
    pub(super) async fn wait(&mut self) {
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(self.backoff.wait(self.failures, None)).await;
    }
}

/// A session to publish over.
pub(super) enum Dialed {
    Tcp(Box<Session>),
    Grpc(Box<GrpcSession>),
}

/// A session that has said HELLO.
pub(crate) struct Session {
    socket: Socket,
    /// Came during set-up before the answer that was waited for.
    early: VecDeque<RawFrame>,
    input: BytesMut,
    /// Frames to be written.
    pub(crate) output: BytesMut,
    pub(crate) capabilities: Capabilities,
    /// The server takes and sends acknowledgements for many.
    pub(crate) many_acks: bool,
    pub(crate) server: String,
}

impl Session {
    async fn hello(&mut self, dialer: &Dialer, purpose: Purpose) -> std::result::Result<(), Failure> {
        let body = serde_json::to_vec(&dialer.agent(purpose)).unwrap_or_default();
        let mut header = Header::new(Command::HelloRequest, "hello").with_property(extension::ACKS, extension::MANY);
        if purpose == Purpose::Sub {
            header = header
                .with_property(extension::HOLDS, extension::TRUE)
                .with_property(extension::STAMPS, extension::NONE);
        }
        let answer = self.request(&header, &body).await?;
        if answer.header.code != 0 {
            let (kind, desc) = refusal(&answer.header);
            return Err(refused::session(kind, &self.server, desc));
        }
        let has = |name| answer.header.property(name) == Some(extension::TRUE);
        self.many_acks = answer.header.property(extension::ACKS) == Some(extension::MANY);
        self.capabilities.redelivers = has(extension::REDELIVERS);
        self.capabilities.ordered_refusal = has(extension::ORDERED_REFUSAL);
        if let Some(server) = answer.header.property(extension::SERVER) {
            self.capabilities.server = server.chars().take(80).collect();
        }
        Ok(())
    }

    /// Sends one request and waits for the frame that answers it. Only during set-up and at the end; what else comes is kept
    /// for [`Self::frame`].
    pub(crate) async fn request(&mut self, header: &Header, body: &[u8]) -> std::result::Result<Frame, Failure> {
        let broken = |e: FrameError| Failure::retryable(codes::SESSION_BROKEN, e.to_string());
        encode(header, body, &mut self.output).map_err(broken)?;
        while !self.output.is_empty() {
            self.transfer(false).await.map_err(broken)?;
        }
        loop {
            if let Some(raw) = self.read_frame().map_err(broken)? {
                let frame = raw.clone().parse().map_err(broken)?;
                if Some(frame.header.cmd) == header.cmd.reply() {
                    return Ok(frame);
                }
                if self.early.len() >= EARLY {
                    let text = format!("{} sends much, but does not answer {}", self.server, header.cmd.name());
                    return Err(Failure::retryable(codes::SESSION_BROKEN, text));
                }
                self.early.push_back(raw);
                continue;
            }
            self.transfer(true).await.map_err(broken)?;
        }
    }

    /// The next complete frame that has been read.
    pub(crate) fn frame(&mut self) -> std::result::Result<Option<RawFrame>, FrameError> {
        match self.early.pop_front() {
            Some(frame) => Ok(Some(frame)),
            None => self.read_frame(),
        }
    }

    fn read_frame(&mut self) -> std::result::Result<Option<RawFrame>, FrameError> {
        FrameCodec::new(MAX_FRAME).decode_raw(&mut self.input)
    }

    /// Moves bytes: writes what is queued, and reads when `read`. Returns when either made progress. Cancel-safe.
    pub(crate) async fn transfer(&mut self, read: bool) -> std::result::Result<(), FrameError> {
        let Self { socket, input, output, .. } = self;
        if output.is_empty() {
            if !read {
                return std::future::pending().await;
            }
            input.reserve(READ.min(64 << 10));
            return finish_read(socket.read_buf(input).await);
        }
        std::future::poll_fn(|cx| {
            let mut moved = false;
            while !output.is_empty() {
                match Pin::new(&mut *socket).poll_write(cx, output) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(closed())),
                    Poll::Ready(Ok(written)) => {
                        output.advance(written);
                        moved = true;
                    }
                    Poll::Ready(Err(e)) => return Poll::Ready(Err(e.into())),
                    Poll::Pending => break,
                }
            }
            if read {
                if input.capacity() - input.len() < 4096 {
                    input.reserve(64 << 10);
                }
                match poll_read_buf(Pin::new(&mut *socket), cx, input) {
                    Poll::Ready(result) => return Poll::Ready(finish_read(result)),
                    Poll::Pending => {}
                }
            }
            if moved { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await?;
        if output.is_empty() && matches!(socket, Socket::Tls(_)) {
            socket.flush().await?;
        }
        Ok(())
    }

    /// Writes what is queued, within `limit`, and as far as it goes.
    pub(crate) async fn flush(&mut self, limit: Duration) {
        let write = async { while !self.output.is_empty() && self.transfer(false).await.is_ok() {} };
        let _ = timeout(limit, write).await;
    }

    /// Says goodbye and closes, within `limit`.
    pub(crate) async fn goodbye(mut self, limit: Duration) {
        let leave = async {
            let _ = self.request(&Header::new(Command::ClientGoodbyeRequest, "goodbye"), b"").await;
            let _ = self.socket.shutdown().await;
        };
        let _ = timeout(limit, leave).await;
    }

    /// Queues a heartbeat.
    pub(crate) fn heartbeat(&mut self) {
        let _ = encode(&Header::new(Command::HeartbeatRequest, "heartbeat"), b"", &mut self.output);
    }
}

fn poll_read_buf(socket: Pin<&mut Socket>, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<std::io::Result<usize>> {
    tokio_util::io::poll_read_buf(socket, cx, into)
}

fn closed() -> FrameError {
    std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the server closed the connection").into()
}

fn finish_read(read: std::io::Result<usize>) -> std::result::Result<(), FrameError> {
    match read {
        Ok(0) => Err(closed()),
        Ok(_) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Kind and text of an answer whose code is not 0.
pub(super) fn refusal(header: &Header) -> (RefusalKind, &str) {
    let desc = header.desc.as_deref().unwrap_or("no reason given");
    (RefusalKind::of_tcp(header.property(extension::REFUSAL), header.code, desc), desc)
}

/// Why a TCP session ends when the server wants it to: SERVER_GOODBYE_REQUEST, or REDIRECT_TO_CLIENT with its body.
pub(super) fn sent_away(server: &str, redirect: Option<&[u8]>) -> Ended {
    let to = redirect.map(|body| serde_json::from_slice::<RedirectInfo>(body).ok());
    match to {
        Some(Some(RedirectInfo { ip, port })) if port != 0 && !ip.is_empty() && ip.len() <= 253 => {
            Ended::Redirected(Server { host: ip, port })
        }
        Some(_) => Ended::Broken(Failure::retryable(
            codes::SENT_AWAY,
            format!("{server} redirects, but does not say where"),
        )),
        None => Ended::Broken(Failure::retryable(codes::SENT_AWAY, format!("{server} says goodbye"))),
    }
}

/// Why a session ended.
pub(super) enum Ended {
    /// The client was closed and everything is settled, or the connector is going down.
    Closed,
    /// To be set up again, with this reason.
    Broken(Failure),
    /// The server refuses what is published, for now.
    Refused(String),
    /// The server sends the client to another.
    Redirected(Server),
}

/// A server's text can be a whole stack trace.
pub(crate) fn shorten(desc: &str) -> String {
    desc.chars().take(DESC).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What ends a session that broke.
pub(super) fn broken(server: &str, error: impl Into<BoxError>) -> Ended {
    Ended::Broken(Failure::retryable(codes::SESSION_BROKEN, format!("the session with {server} broke")).because(error))
}

/// A redirect that is not obeyed any more.
pub(super) fn circles(to: &Server) -> Failure {
    Failure::retryable(codes::SENT_AWAY, format!("the servers redirect in circles, at last to {to}"))
}

/// The status after a failure.
pub(crate) fn lost(failure: &Failure) -> MeshStatus {
    MeshStatus::Disconnected { reason: failure.reason() }
}

/// A connection, encrypted or not.
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
