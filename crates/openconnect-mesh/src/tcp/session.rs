//! One connection: a loop that reads and handles whole buffers of frames, beside one that writes what has gathered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use openconnect_protocol::frame::{Command, FrameCodec};
use openconnect_protocol::refusal::RefusalKind;
use openconnect_protocol::session::{SubscriptionItem, UserAgent};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::answer;
use super::outbox::Outbox;
use super::publish::Publishes;
use crate::asking::Asking;
use crate::broker::{Broker, Membership};
use crate::log::topic::Refusal;

/// Bytes of publishes that one connection may have waiting for their commit.
const MAX_COMMITTING: usize = 8 << 20;
/// How long a client that is being closed gets to take its last answers.
const LAST_WRITE: Duration = Duration::from_secs(2);

pub(crate) struct Session {
    pub(crate) broker: Arc<Broker>,
    pub(crate) peer: SocketAddr,
    pub(crate) id: u64,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) asking: Arc<Asking>,
    pub(crate) agent: Option<UserAgent>,
    pub(crate) holds: bool,
    pub(crate) listening: bool,
    /// Subscribed before LISTEN.
    pub(crate) pending: Vec<SubscriptionItem>,
    pub(crate) memberships: Vec<Membership>,
    pub(crate) latch: Arc<AtomicBool>,
    pub(crate) committing: Arc<Committing>,
    pub(crate) acks: Vec<u64>,
    pub(crate) publishes: Publishes,
}

/// What is on its way to the disk for one connection.
#[derive(Default)]
pub(crate) struct Committing {
    bytes: AtomicUsize,
    less: Notify,
}

impl Committing {
    pub(crate) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(crate) fn done(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.less.notify_one();
    }

    async fn room(&self) {
        while self.bytes.load(Ordering::Acquire) > MAX_COMMITTING {
            self.less.notified().await;
        }
    }

    async fn empty(&self) {
        while self.bytes.load(Ordering::Acquire) > 0 {
            self.less.notified().await;
        }
    }
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
        holds: false,
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
            tracing::warn!(%peer, reason, "connection closed: not EventMesh's protocol")
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
        *crate::log::topic::locked(&self.groups) = memberships.iter().map(|m| Arc::clone(&m.group)).collect();
    }

    fn all(&self) {
        crate::log::topic::locked(&self.groups).iter().for_each(|g| g.wake());
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

impl Session {
    async fn read<R: AsyncRead + Unpin>(&mut self, mut reader: R, wake: &Wake) -> End {
        let codec = FrameCodec::new(self.broker.config.max_frame());
        let timeout = self.broker.config.limits.session_timeout;
        let mut buffer = BytesMut::new();
        let mut want = 8 << 10;
        loop {
            self.committing.room().await;
            while !self.outbox.may_read() {
                self.outbox.drained.notified().await;
            }
            buffer.reserve(want);
            let room = buffer.capacity() - buffer.len();
            match tokio::time::timeout(timeout, reader.read_buf(&mut buffer)).await {
                Ok(Ok(0)) => return End::Closed,
                // Whoever fills the buffer gets a larger one, so that a busy connection needs few reads.
                Ok(Ok(read)) => {
                    want = if read == room {
                        (want * 2).min(256 << 10)
                    } else {
                        (read * 2).clamp(8 << 10, want)
                    }
                }
                Ok(Err(error)) => {
                    tracing::debug!(peer = %self.peer, %error, "could not read");
                    return End::Closed;
                }
                Err(_) => {
                    let expired = Refusal::new(RefusalKind::Session, "session expired: nothing was heard");
                    refuse(&self.outbox, Command::ServerGoodbyeRequest, &expired, "");
                    return End::AfterAnswers("nothing was heard from the client".to_owned());
                }
            }
            loop {
                match codec.decode_raw(&mut buffer) {
                    Ok(Some(raw)) => {
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
            if buffer.is_empty() && want <= 8 << 10 {
                // An idle connection keeps no memory of a busy past.
                buffer = BytesMut::new();
            }
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

pub(crate) fn succeed(outbox: &Outbox, cmd: Command, seq: &str) {
    outbox.put(|out| answer::answer(cmd, 0, "success", seq, out));
}

pub(crate) fn refuse(outbox: &Outbox, cmd: Command, refusal: &Refusal, seq: &str) {
    outbox.put(|out| answer::refusal(cmd, refusal, seq, out));
}
