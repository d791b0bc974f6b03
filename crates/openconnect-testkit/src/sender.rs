//! Numbered events sent over HTTP, key by key in order, and which of them were confirmed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use crate::Result;
use crate::http::Client;
use crate::oracle::{Sent, hash};

/// What to send.
#[derive(Debug, Clone)]
pub struct Load {
    /// The source's address.
    pub address: SocketAddr,
    /// Path to POST to.
    pub path: String,
    /// Different keys; each is sent in order, all at the same time.
    pub keys: usize,
    /// Events a request: 1 is structured mode, more is batch mode.
    pub batch: usize,
    /// Bytes of padding in the data.
    pub padding: usize,
    /// How long a request waits for its answer.
    pub within: Duration,
    /// How long a key waits after each request.
    pub pause: Duration,
}

impl Load {
    /// Sixteen keys, an event a request.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            path: "/".to_owned(),
            keys: 16,
            batch: 1,
            padding: 64,
            within: Duration::from_secs(10),
            pause: Duration::ZERO,
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    confirmed: Mutex<Vec<Sent>>,
    open: Mutex<Vec<Sent>>,
    refused: AtomicUsize,
    unanswered: AtomicUsize,
    sent: AtomicUsize,
    stop: AtomicBool,
    until: usize,
}

/// A load that runs until it is stopped or its number is reached.
#[derive(Debug)]
pub struct Sender {
    shared: Arc<Shared>,
    keys: JoinSet<()>,
}

/// What became of a load.
#[derive(Debug, Clone)]
pub struct Sending {
    /// Events that got a 2xx.
    pub confirmed: Vec<Sent>,
    /// Events that were sent and never got one: they may arrive.
    pub open: Vec<Sent>,
    /// Answers 503 and 429.
    pub refused: usize,
    /// Requests without an answer.
    pub unanswered: usize,
}

impl Sender {
    /// Starts sending `total` events over all keys (a multiple of `keys * batch` or a little more), as fast as they are confirmed.
    pub fn start(load: &Load, total: usize) -> Self {
        let shared = Arc::new(Shared {
            until: total,
            ..Shared::default()
        });
        let mut keys = JoinSet::new();
        for key in 0..load.keys {
            keys.spawn(send_key(load.clone(), format!("k{key}"), Arc::clone(&shared)));
        }
        Self { shared, keys }
    }

    /// How many events were confirmed so far.
    pub fn confirmed(&self) -> usize {
        lock(&self.shared.confirmed).len()
    }

    /// How many requests got 503 or 429 so far.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Waits until everything is confirmed.
    pub async fn finish(mut self, within: Duration) -> Result<Sending> {
        let done = tokio::time::timeout(within, async { while self.keys.join_next().await.is_some() {} }).await;
        let confirmed = self.confirmed();
        done.map_err(|_| format!("only {confirmed} of {} events were confirmed within {within:?}", self.shared.until))?;
        Ok(self.shared.result())
    }

    /// Stops and says what was confirmed.
    pub async fn stop(mut self) -> Sending {
        self.shared.stop.store(true, Ordering::Relaxed);
        while self.keys.join_next().await.is_some() {}
        self.shared.result()
    }
}

impl Shared {
    fn result(&self) -> Sending {
        Sending {
            confirmed: lock(&self.confirmed).clone(),
            open: lock(&self.open).clone(),
            refused: self.refused.load(Ordering::Relaxed),
            unanswered: self.unanswered.load(Ordering::Relaxed),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One event: what is remembered of it, and its structured JSON.
pub fn event(key: &str, number: u64, padding: usize) -> (Sent, String) {
    let data = data(key, number, padding);
    let id = format!("{key}-{number}");
    let text = format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/load","type":"load.numbered","partitionkey":"{key}","datacontenttype":"application/json","data":{data}}}"#
    );
    (
        Sent {
            id,
            key: key.to_owned(),
            number,
            hash: hash(data.as_bytes()),
        },
        text,
    )
}

/// The data of an event.
pub fn data(key: &str, number: u64, padding: usize) -> String {
    json!({ "key": key, "number": number, "text": "x".repeat(padding) }).to_string()
}

/// Sends one key's events, the next only after the one before is confirmed.
async fn send_key(load: Load, key: String, shared: Arc<Shared>) {
    let mut client = Client::new(load.address, load.within);
    let mut number = 0;
    while !shared.stop.load(Ordering::Relaxed) && shared.sent.fetch_add(load.batch, Ordering::Relaxed) < shared.until {
        let (mut events, mut texts) = (Vec::with_capacity(load.batch), Vec::with_capacity(load.batch));
        for _ in 0..load.batch {
            number += 1;
            let (event, text) = event(&key, number, load.padding);
            events.push(event);
            texts.push(text);
        }
        let (content_type, body) = if load.batch == 1 {
            ("application/cloudevents+json", texts.concat())
        } else {
            ("application/cloudevents-batch+json", format!("[{}]", texts.join(",")))
        };
        if confirmed(&mut client, &load.path, content_type, body.into(), &shared).await {
            lock(&shared.confirmed).extend(events);
        } else {
            lock(&shared.open).extend(events);
            return;
        }
        if !load.pause.is_zero() {
            tokio::time::sleep(load.pause).await;
        }
    }
}

/// Sends a request again until it is confirmed; `false` when the load was stopped before.
async fn confirmed(client: &mut Client, path: &str, content_type: &str, body: bytes::Bytes, shared: &Shared) -> bool {
    let mut complained = None;
    loop {
        match client.post(path, content_type, body.clone()).await {
            Ok(answer) if answer.status.is_success() => return true,
            Ok(answer) if matches!(answer.status.as_u16(), 429 | 503) => {
                shared.refused.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => {
                // Not what a load expects; said once in a while, so that a test that hangs can be understood.
                if complained.is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(5)) {
                    eprintln!("the source answered {}: {}", answer.status, answer.text());
                    complained = Some(Instant::now());
                }
            }
            Err(_) => {
                shared.unanswered.fetch_add(1, Ordering::Relaxed);
            }
        }
        if shared.stop.load(Ordering::Relaxed) {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
