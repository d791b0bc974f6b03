//! One connection: a loop that reads and handles whole buffers of frames, beside one that writes what has gathered.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::BytesMut;
use openconnect_protocol::frame::{Command, FrameCodec};
use openconnect_protocol::refusal::RefusalKind;
use openconnect_protocol::session::{SubscriptionItem, UserAgent};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::answer;
use super::committing::Committing;
use super::gathering::Publishes;
use super::outbox::Outbox;
use crate::asking::Asking;
use crate::auth::User;
use crate::broker::{Broker, Membership};
use crate::config::Limits;
use crate::lock::locked;
use crate::refusal::Refusal;

/// Largest frame of somebody who has not said HELLO.
const MAX_HELLO: usize = 16 << 10;
/// A read takes between these many bytes.
const MIN_READ: usize = 8 << 10;
const MAX_READ: usize = 256 << 10;
/// A connection that was quiet for this long waits with a small buffer.
const QUIET: Duration = Duration::from_secs(1);
const IDLE_READ: usize = 512;
/// How long a client that is being closed gets to take its last answers.
const LAST_WRITE: Duration = Duration::from_secs(2);

pub(crate) struct Session {
    pub(crate) broker: Arc<Broker>,
    pub(crate) peer: SocketAddr,
    pub(crate) id: u64,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) asking: Arc<Asking>,
    pub(crate) agent: Option<UserAgent>,
    pub(crate) user: User,
    pub(crate) holds: bool,
    /// The client takes and sends acknowledgements for many.
    pub(crate) many_acks: bool,
    /// The client wants its deliveries as they were published.
    pub(crate) unstamped: bool,
    pub(crate) listening: bool,
    /// Subscribed before LISTEN.
    pub(crate) pending: Vec<SubscriptionItem>,
    pub(crate) memberships: Vec<Membership>,
    pub(crate) latch: Arc<AtomicBool>,
    pub(crate) committing: Arc<Committing>,
    pub(crate) acks: Vec<u64>,
    pub(crate) publishes: Publishes,
}

/// Why reading ended.
pub(crate) enum End {
    /// The client went away.
    Closed,
    /// The client is told something first.
    AfterAnswers(String),
    /// What came is not the protocol.
    Garbage(String),
}

pub(crate) async fn run<R, W>(reader: R, writer: W, peer: SocketAddr, broker: Arc<Broker>)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let outbox = Arc::new(Outbox::default());
    let mut session = Session {
        id: broker.number(),
        peer,
        outbox: Arc::clone(&outbox),
        asking: Arc::default(),
        agent: None,
        user: User::default(),
        holds: false,
        many_acks: false,
        unstamped: false,
        listening: false,
        pending: Vec::new(),
        memberships: Vec::new(),
        latch: Arc::default(),
        committing: Arc::default(),
        acks: Vec::new(),
        publishes: Publishes::default(),
        broker: Arc::clone(&broker),
    };
    let committing = Arc::clone(&session.committing);
    let mut writer = writer;
    let wake = Wake::default();
    let end = tokio::select! {
        end = session.read(reader, &wake) => end,
        error = write(&mut writer, &outbox, &wake) => {
            tracing::debug!(%peer, %error, "could not write");
            End::Closed
        }
        () = broker.stop.cancelled() => {
            outbox.put(|out| {
                answer::answer(Command::ServerGoodbyeRequest, 0, "graceful normal quit from eventmesh", "", out);
            });
            End::AfterAnswers("the mesh stops".to_owned())
        }
    };
    // Gives back what was not acknowledged.
    drop(session);
    match end {
        End::Closed => tracing::debug!(%peer, "connection closed"),
        End::Garbage(reason) => {
            broker.tcp.complain(peer, &format!("not EventMesh's protocol: {reason}"));
        }
        End::AfterAnswers(reason) => {
            tracing::debug!(%peer, reason, "closing the connection");
            let last = async {
                committing.empty().await;
                let mut rest = BytesMut::new();
                outbox.take(&mut rest);
                let _ = writer.write_all(&rest).await;
                let _ = writer.shutdown().await;
            };
            if tokio::time::timeout(LAST_WRITE, last).await.is_err() {
                tracing::debug!(%peer, "the client did not take its last answers");
            }
        }
    }
}

/// Tells the reading side that there is room in the output, and which groups wait for it.
#[derive(Default)]
pub(crate) struct Wake {
    groups: std::sync::Mutex<Vec<Arc<crate::group::Group>>>,
}

impl Wake {
    pub(crate) fn set(&self, memberships: &[Membership]) {
        *locked(&self.groups) = memberships.iter().map(|m| Arc::clone(&m.group)).collect();
    }

    fn all(&self) {
        locked(&self.groups).iter().for_each(|g| g.wake());
    }
}

async fn write<W: AsyncWrite + Unpin>(writer: &mut W, outbox: &Outbox, wake: &Wake) -> std::io::Error {
    let mut chunk = BytesMut::new();
    loop {
        outbox.changed.notified().await;
        loop {
            outbox.take(&mut chunk);
            if outbox.was_starved() {
                wake.all();
            }
            outbox.drained.notify_one();
            if chunk.is_empty() {
                break;
            }
            if let Err(error) = writer.write_all(&chunk).await {
                return error;
            }
            if let Err(error) = writer.flush().await {
                return error;
            }
        }
    }
}

/// What a connection reads into, and since when.
struct Input<R> {
    reader: R,
    buffer: BytesMut,
    /// Whoever fills the buffer gets a larger one, so that a busy connection needs few reads.
    want: usize,
    opened: Instant,
    /// Since when a frame has been incomplete.
    begun: Option<Instant>,
}

impl<R: AsyncRead + Unpin> Input<R> {
    fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
            want: MIN_READ,
            opened: Instant::now(),
            begun: None,
        }
    }

    /// Until when something must come, and what it means when nothing does.
    fn deadline(&self, greeted: bool, limits: &Limits) -> (Instant, &'static str) {
        if !greeted {
            return (self.opened + limits.handshake_timeout, "no HELLO came in time");
        }
        let idle = Instant::now() + limits.session_timeout;
        match self.begun.map(|begun| begun + limits.frame_timeout) {
            Some(whole) if whole < idle => (whole, "a frame did not come whole in time"),
            _ => (idle, "session expired: nothing was heard"),
        }
    }

    /// Reads some; `None` when nothing came in time.
    async fn fill(&mut self, until: Instant) -> io::Result<Option<usize>> {
        self.buffer.reserve(self.want);
        let soon = until.min(Instant::now() + QUIET);
        if let Ok(read) = timeout_at(soon, self.reader.read_buf(&mut self.buffer)).await {
            return read.map(Some);
        }
        if self.buffer.is_empty() {
            // An idle connection keeps no memory of a busy past.
            self.want = IDLE_READ;
            self.buffer = BytesMut::with_capacity(IDLE_READ);
        }
        match timeout_at(until, self.reader.read_buf(&mut self.buffer)).await {
            Ok(read) => read.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Notes how much came, and whether it was whole frames.
    fn note(&mut self, read: usize, frames: usize) {
        let spare = self.buffer.capacity() - self.buffer.len();
        self.want = if spare == 0 || read >= self.want {
            (self.want * 2).clamp(MIN_READ, MAX_READ)
        } else {
            (read * 2).clamp(MIN_READ, self.want.max(MIN_READ))
        };
        if self.buffer.is_empty() {
            self.begun = None;
        } else if frames > 0 || self.begun.is_none() {
            self.begun = Some(Instant::now());
        }
    }
}

impl Session {
    async fn read<R: AsyncRead + Unpin>(&mut self, reader: R, wake: &Wake) -> End {
        let hello = FrameCodec::new(MAX_HELLO);
        let codec = FrameCodec::new(self.broker.config.max_frame());
        let broker = Arc::clone(&self.broker);
        let limits = &broker.config.limits;
        let mut input = Input::new(reader);
        loop {
            self.committing.room().await;
            if timeout(limits.session_timeout, self.outbox.room()).await.is_err() {
                tracing::debug!(peer = %self.peer, "the client does not take its answers");
                return End::Closed;
            }
            let (until, late) = input.deadline(self.agent.is_some(), limits);
            let read = match input.fill(until).await {
                Ok(Some(0)) => return End::Closed,
                Ok(Some(read)) => read,
                Ok(None) => {
                    self.outbox
                        .refuse(Command::ServerGoodbyeRequest, &Refusal::new(RefusalKind::Session, late), "");
                    return End::AfterAnswers(late.to_owned());
                }
                Err(error) => {
                    tracing::debug!(peer = %self.peer, %error, "could not read");
                    return End::Closed;
                }
            };
            let mut frames = 0;
            loop {
                let codec = if self.agent.is_some() { &codec } else { &hello };
                match codec.decode_raw(&mut input.buffer) {
                    Ok(Some(raw)) => {
                        frames += 1;
                        if let Err(end) = self.handle(raw, wake).await {
                            self.flush();
                            return end;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        self.flush();
                        return End::Garbage(error.to_string());
                    }
                }
            }
            self.flush();
            input.note(read, frames);
        }
    }

    /// Hands gathered publishes and acknowledgements on.
    pub(crate) fn flush(&mut self) {
        self.publishes.send();
        if !self.acks.is_empty() {
            for membership in &self.memberships {
                membership.group.acknowledge(self.id, &mut self.acks);
                if self.acks.is_empty() {
                    break;
                }
            }
            // What is left was delivered again already, or never here.
            self.acks.clear();
        }
    }
}
