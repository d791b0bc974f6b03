//! Settings of a mesh, with defaults that suit one machine.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::MeshError;

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the events are kept.
    pub data: PathBuf,
    /// Address of the TCP protocol.
    pub tcp: SocketAddr,
    /// Address of the gRPC protocol; none when it shall not be served.
    pub grpc: Option<SocketAddr>,
    /// Wait for the disk before a publish is acknowledged. Without it, events survive the process but not the machine.
    pub fsync: bool,
    /// A journal segment's size.
    #[serde(deserialize_with = "size")]
    pub segment_bytes: u64,
    /// Names and passwords of those who may connect. Empty: everybody may.
    pub users: BTreeMap<String, Password>,
    /// Certificate and key, when connections are to be encrypted.
    pub tls: Option<Tls>,
    /// Which topics there can be.
    pub topics: Topics,
    /// How long events are kept.
    pub retention: Retention,
    /// How events are handed to subscribers.
    pub delivery: Delivery,
    /// Bounds on what clients may ask for.
    pub limits: Limits,
}

/// A password: comparable, not printable.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    /// From text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Encryption of both transports.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate chain.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// Which topics there can be.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Topics {
    /// Make a topic when somebody publishes or subscribes to it.
    pub auto_create: bool,
    /// Topics that are made at start.
    pub create: Vec<String>,
    /// Most topics.
    pub max: usize,
}

/// What happens to events that a known group has not consumed, when the topic is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// They stay, and publishes are refused until there is room.
    Refuse,
    /// The oldest go, and the group never sees them.
    DropOldest,
}

/// How long events are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Consumed events older than this go.
    #[serde(deserialize_with = "duration")]
    pub max_age: Duration,
    /// A topic's size. Consumed events go first.
    #[serde(deserialize_with = "size")]
    pub max_bytes: u64,
    /// What happens when unconsumed events fill it.
    pub when_full: WhenFull,
}

/// Where a new group begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the oldest event that is kept.
    Earliest,
    /// With the next event.
    Latest,
}

/// How events are handed to subscribers.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delivery {
    /// Where a new group begins.
    pub new_group: Start,
    /// An event that is not acknowledged for this long is delivered again.
    #[serde(deserialize_with = "duration")]
    pub redeliver_after: Duration,
    /// Unacknowledged events per subscriber.
    pub max_unacknowledged: usize,
    /// The same in bytes.
    #[serde(deserialize_with = "size")]
    pub max_unacknowledged_bytes: u64,
    /// How often cursors of groups are saved.
    #[serde(deserialize_with = "duration")]
    pub save_cursors_every: Duration,
}

/// Bounds on what clients may ask for.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest event.
    #[serde(deserialize_with = "size")]
    pub max_event_bytes: u64,
    /// Open connections, of both transports each.
    pub max_connections: usize,
    /// Consumer groups per topic.
    pub max_groups: usize,
    /// Requests that wait for a reply.
    pub max_requests: usize,
    /// A session that sends nothing for this long is closed.
    #[serde(deserialize_with = "duration")]
    pub session_timeout: Duration,
    /// Recent events of all topics that are kept in memory for subscribers that keep up.
    #[serde(deserialize_with = "size")]
    pub memory: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("mesh-data"),
            tcp: SocketAddr::from(([127, 0, 0, 1], 10000)),
            grpc: Some(SocketAddr::from(([127, 0, 0, 1], 10205))),
            fsync: true,
            segment_bytes: 64 << 20,
            users: BTreeMap::new(),
            tls: None,
            topics: Topics::default(),
            retention: Retention::default(),
            delivery: Delivery::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            auto_create: true,
            create: Vec::new(),
            max: 1000,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(7 * 24 * 3600),
            max_bytes: 4 << 30,
            when_full: WhenFull::Refuse,
        }
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            new_group: Start::Earliest,
            redeliver_after: Duration::from_secs(60),
            max_unacknowledged: 8192,
            max_unacknowledged_bytes: 16 << 20,
            save_cursors_every: Duration::from_millis(500),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_event_bytes: 4 << 20,
            max_connections: 1000,
            max_groups: 1000,
            max_requests: 10_000,
            session_timeout: Duration::from_secs(90),
            memory: 64 << 20,
        }
    }
}

impl Config {
    /// Reads a YAML, TOML or JSON file.
    pub fn load(file: &Path) -> Result<Self, MeshError> {
        config::Config::builder()
            .add_source(config::File::from(file))
            .build()
            .and_then(config::Config::try_deserialize)
            .map_err(|e| MeshError::Config(format!("{}: {e}", file.display())))
    }

    /// A configuration for tests and embedding: free ports on loopback.
    #[must_use]
    pub fn embedded(data: impl Into<PathBuf>) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            data: data.into(),
            tcp: any,
            grpc: Some(any),
            ..Self::default()
        }
    }

    /// Largest frame: the event and room for a header.
    pub(crate) fn max_frame(&self) -> usize {
        usize::try_from(self.limits.max_event_bytes)
            .unwrap_or(usize::MAX)
            .saturating_add(64 << 10)
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(de::Error::custom)
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Size {
        Number(u64),
        Text(String),
    }
    let text = match Size::deserialize(deserializer)? {
        Size::Number(bytes) => return Ok(bytes),
        Size::Text(text) => text,
    };
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => {
            return Err(de::Error::custom(format!("`{text}` is no size: write it like 512, 64KiB or 4GiB")));
        }
    };
    let number: u64 = number.parse().map_err(|_| de::Error::custom(format!("`{text}` is no size")))?;
    number.checked_mul(1 << shift).ok_or_else(|| de::Error::custom("too large"))
}
