//! One TCP session: HELLO, and the buffers between frames and the socket.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use openconnect_protocol::extension;
use openconnect_protocol::frame::{Command, Frame, FrameCodec, FrameError, Header, RawFrame, encode};
use openconnect_protocol::refusal::RefusalKind;
use openconnect_protocol::session::{Purpose, RedirectInfo, UserAgent};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::dialer::Dialer;
use super::ended::Ended;
use super::route::Route;
use super::socket::Socket;
use super::url::Server;
use super::{Capabilities, refused};
use crate::codes;
use crate::error::BoxError;
use crate::failure::Failure;

/// The largest frame taken: four times EventMesh's own limit, for servers that were given a larger one.
const MAX_FRAME: usize = 16 << 20;
/// A read takes at most this much at once.
const READ: usize = 256 << 10;
/// Frames that may come before the answer that is waited for.
const EARLY: usize = 1024;

impl Dialer {
    /// Sets up a TCP session with the first server on the route that answers.
    pub(crate) async fn dial(&self, route: &mut Route, purpose: Purpose) -> Result<Session, Failure> {
        let candidates = self.candidates(route);
        self.first(route, &candidates, |server| self.session(server, purpose)).await
    }

    async fn session(&self, server: &Server, purpose: Purpose) -> Result<Session, Failure> {
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
            group: Some(self.group().to_owned()),
            purpose: Some(if purpose == Purpose::Pub { "pub" } else { "sub" }.into()),
            ..UserAgent::default()
        }
    }
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
    async fn hello(&mut self, dialer: &Dialer, purpose: Purpose) -> Result<(), Failure> {
        let body = serde_json::to_vec(&dialer.agent(purpose))
            .map_err(|e| Failure::fatal(codes::SESSION_BROKEN, "the user agent can't be written as JSON").because(e))?;
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
    pub(crate) async fn request(&mut self, header: &Header, body: &[u8]) -> Result<Frame, Failure> {
        let text = format!("the session with {} broke", self.server);
        let broken = |e: FrameError| Failure::retryable(codes::SESSION_BROKEN, text.as_str()).because(e);
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
    pub(crate) fn frame(&mut self) -> Result<Option<RawFrame>, FrameError> {
        match self.early.pop_front() {
            Some(frame) => Ok(Some(frame)),
            None => self.read_frame(),
        }
    }

    fn read_frame(&mut self) -> Result<Option<RawFrame>, FrameError> {
        FrameCodec::new(MAX_FRAME).decode_raw(&mut self.input)
    }

    /// Moves bytes: writes what is queued, and reads when `read`. Returns when either made progress. Cancel-safe.
    pub(crate) async fn transfer(&mut self, read: bool) -> Result<(), FrameError> {
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

fn finish_read(read: std::io::Result<usize>) -> Result<(), FrameError> {
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

/// What ends a session that broke.
pub(super) fn broken(server: &str, error: impl Into<BoxError>) -> Ended {
    Ended::Broken(Failure::retryable(codes::SESSION_BROKEN, format!("the session with {server} broke")).because(error))
}
