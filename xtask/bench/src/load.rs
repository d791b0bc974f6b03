//! HTTP load that takes little processor time: requests made once, several of them under way on each connection.
//!
//! It reads of each answer only its status line, so the answers must have `Content-Length` bodies without the text `HTTP/1.1 `.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use openconnect_testkit::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::run::{Schedule, Setup, Times};

const STATUS: &[u8] = b"HTTP/1.1 ";

/// What to send where.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    pub(crate) address: SocketAddr,
    /// One request, whole.
    pub(crate) text: Arc<[u8]>,
    /// Events in a request.
    pub(crate) events: u64,
    pub(crate) connections: usize,
    /// Requests under way on a connection at the most.
    pub(crate) depth: usize,
    /// Requests a second, over all connections; none: as many as go.
    pub(crate) offered: Option<f64>,
    /// Where the events go on to; none: they end where the requests go.
    pub(crate) target: Option<Target>,
}

/// The end of a pipeline. The load waits while it is far behind: what is measured is a rate that all of the pipeline can go on
/// with, not how fast its beginning can fill a store.
#[derive(Clone)]
pub(crate) struct Target {
    count: Arc<dyn Fn() -> u64 + Send + Sync>,
    most_behind: u64,
}

impl Target {
    /// Events that may be under way between the load and the target, of 512 bytes or less.
    const EVENTS: u64 = 20_000;
    /// And of larger ones, in bytes.
    const BYTES: u64 = 10 << 20;

    /// `count` says how many events have come there.
    pub(crate) fn new(setup: &Setup, count: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        // Two requests at least: one is under way while the other is made.
        let least = 2 * setup.batch as u64;
        Self {
            count: Arc::new(count),
            most_behind: (Self::BYTES / setup.bytes.max(1) as u64).clamp(least, Self::EVENTS.max(least)),
        }
    }

    /// Waits while the target is too far behind what has gone.
    pub(crate) async fn keeps_up(&self, gone: impl Fn() -> u64) {
        while gone().saturating_sub((self.count)()) > self.most_behind {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Target")
    }
}

/// A load that runs until this is dropped.
pub(crate) struct Load {
    confirmed: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    times: Arc<Mutex<Times>>,
    _connections: JoinSet<()>,
}

impl Load {
    /// Times are taken of what is due after `from`.
    pub(crate) async fn start(requests: &Requests, from: Instant) -> Result<Self> {
        let (confirmed, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let times = Arc::new(Mutex::new(Times::new(from)?));
        let schedule = requests.offered.map(|offered| Schedule::new(offered / requests.connections as f64));
        let mut connections = JoinSet::new();
        for number in 0..requests.connections {
            // They take turns: all at once would be a burst, and then nothing for a while.
            let schedule = schedule.map(|schedule| schedule.shifted(number as f64 / requests.connections as f64));
            let stream = TcpStream::connect(requests.address).await?;
            stream.set_nodelay(true)?;
            let (from, to) = stream.into_split();
            let free = Arc::new(Semaphore::new(requests.depth));
            let due = Arc::new(Mutex::new(VecDeque::new()));
            let answers = Answers {
                from,
                free: Arc::clone(&free),
                due: Arc::clone(&due),
                times: Arc::clone(&times),
                confirmed: Arc::clone(&confirmed),
                refused: Arc::clone(&refused),
                events: requests.events,
            };
            let keeps_up = requests.target.clone().map(|target| (target, Arc::clone(&confirmed)));
            connections.spawn(send(to, Arc::clone(&requests.text), free, due, schedule, keeps_up));
            connections.spawn(answers.read());
        }
        Ok(Self {
            confirmed,
            refused,
            times,
            _connections: connections,
        })
    }

    /// Events that got a 2xx; an error when any was refused for good.
    pub(crate) fn confirmed(&self) -> Result<u64> {
        match self.refused.load(Ordering::Relaxed) {
            0 => Ok(self.confirmed.load(Ordering::Relaxed)),
            refused => Err(format!("{refused} requests were refused").into()),
        }
    }

    pub(crate) fn latency(&self) -> crate::run::Latency {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).latency()
    }
}

async fn send(
    mut to: OwnedWriteHalf,
    text: Arc<[u8]>,
    free: Arc<Semaphore>,
    due: Arc<Mutex<VecDeque<Instant>>>,
    schedule: Option<Schedule>,
    keeps_up: Option<(Target, Arc<AtomicU64>)>,
) {
    let mut together = Vec::new();
    for number in 0.. {
        let at = match schedule {
            Some(schedule) => schedule.due(number),
            None => Instant::now(),
        };
        if let Some(early) = at.checked_duration_since(Instant::now()) {
            tokio::time::sleep(early).await;
        }
        if let Some((target, confirmed)) = &keeps_up {
            target.keeps_up(|| confirmed.load(Ordering::Relaxed)).await;
        }
        let Ok(permit) = free.acquire().await else { return };
        permit.forget();
        due.lock().unwrap_or_else(PoisonError::into_inner).push_back(at);
        together.clear();
        together.extend_from_slice(&text);
        // Whatever else may go now, goes in the same write.
        while schedule.is_none()
            && together.len() < 64 << 10
            && let Ok(permit) = free.try_acquire()
        {
            permit.forget();
            due.lock().unwrap_or_else(PoisonError::into_inner).push_back(at);
            together.extend_from_slice(&text);
        }
        if to.write_all(&together).await.is_err() {
            return;
        }
    }
}

struct Answers {
    from: OwnedReadHalf,
    free: Arc<Semaphore>,
    due: Arc<Mutex<VecDeque<Instant>>>,
    times: Arc<Mutex<Times>>,
    confirmed: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    events: u64,
}

impl Answers {
    async fn read(mut self) {
        let mut buffer = vec![0; 64 << 10];
        let mut kept = 0;
        while let Ok(read @ 1..) = self.from.read(&mut buffer[kept..]).await {
            let end = kept + read;
            let (answers, rest) = self.take(&buffer[..end]);
            if answers > 0 {
                self.free.add_permits(answers);
            }
            buffer.copy_within(rest..end, 0);
            kept = end - rest;
        }
        // Whoever counts must learn that the connection ended.
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The status lines in what was read, and where the part begins that is not looked at yet.
    fn take(&self, read: &[u8]) -> (usize, usize) {
        let (mut answers, mut from) = (0, 0);
        for at in memchr::memmem::find_iter(read, STATUS) {
            let Some(first) = read.get(at + STATUS.len()) else {
                return (answers, at);
            };
            match first {
                b'2' => _ = self.confirmed.fetch_add(self.events, Ordering::Relaxed),
                // Busy: back-pressure is part of what is measured.
                b'5' => {}
                _ => _ = self.refused.fetch_add(1, Ordering::Relaxed),
            }
            if let Some(due) = self.due.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
                self.times.lock().unwrap_or_else(PoisonError::into_inner).record(due);
            }
            answers += 1;
            from = at + STATUS.len() + 1;
        }
        // A status line may have come in part.
        (answers, from.max(read.len().saturating_sub(STATUS.len() - 1)))
    }
}
