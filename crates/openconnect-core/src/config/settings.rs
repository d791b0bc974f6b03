//! The settings that every connector has.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use openconnect_config::LogSettings;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::bytes_size::ByteSize;
use crate::duration::HumanDuration;
use crate::secret::Secret;
use crate::sink::Ordering;

/// A connector's whole configuration but its own section.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The instance: offsets, consumer group, state folder and metrics carry it. Letters, digits, `-` and `_`.
    #[schemars(example = &"orders")]
    pub name: String,
    /// Where EventMesh is and what to publish or subscribe there.
    pub mesh: MeshSettings,
    /// Steps applied to every event, in order.
    #[serde(default)]
    pub transforms: Vec<crate::transform::TransformConfig>,
    /// What must hold for every event.
    #[serde(default)]
    pub delivery: DeliverySettings,
    /// Where events go that can't be delivered. Default: a file in the state folder.
    #[serde(default)]
    pub dead_letter: DeadLetterSettings,
    /// Offsets, inbox, dead letters and the lock of this instance.
    #[serde(default)]
    pub state: StateSettings,
    /// Bounds of the process.
    #[serde(default)]
    pub limits: Limits,
    /// Health, metrics and status over HTTP. Absent: no admin server.
    pub admin: Option<AdminSettings>,
    /// Log output.
    #[serde(default)]
    pub log: LogSettings,
}

/// The `mesh:` section.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeshSettings {
    /// `tcp://host:10000[,host2:10000]` or `grpc://host:10205`; with `tls`: `tcps://`, `grpcs://`.
    #[schemars(example = &"tcp://127.0.0.1:10000")]
    pub url: String,
    /// The topic to publish to (source) or to subscribe to (sink).
    #[schemars(example = &"orders")]
    pub topic: String,
    /// Consumer group (sink) or producer group (source). Default: the instance's name.
    pub group: Option<String>,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Token, for servers that check one.
    pub token: Option<Secret>,
    /// TLS settings for `tcps://` and `grpcs://`.
    #[serde(default)]
    pub tls: crate::tls::TlsSettings,
    /// Connections to publish over; events of one key keep to one connection. Default 1.
    pub connections: Option<usize>,
    /// Publishes in flight per connection. Default: 4096 when the server keeps order on refusal, 1 otherwise.
    pub window: Option<usize>,
    /// How long one request may take before its connection counts as broken. Default 10s.
    pub request_timeout: Option<HumanDuration>,
    /// Interval of heartbeats. Default 10s. A server that answers none within the interval counts as gone.
    pub heartbeat: Option<HumanDuration>,
    /// Longest wait between two attempts to connect. Default 10s.
    pub reconnect_max: Option<HumanDuration>,
}

/// The guarantees, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// An event may be lost.
    AtMostOnce,
    /// No event is lost; some may be delivered again.
    AtLeastOnce,
    /// No event is lost, and a repeat leaves the target unchanged.
    EffectivelyOnce,
}

/// When the mesh gets its acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Acknowledge {
    /// `write` when the mesh redelivers, else `inbox`.
    #[default]
    Auto,
    /// After the event is in the local inbox, fsynced.
    Inbox,
    /// After the target confirmed.
    Write,
}

/// The `delivery:` section.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeliverySettings {
    /// The connector refuses to start below this guarantee. Default `at-least-once`.
    pub require: Option<Guarantee>,
    /// Which events may overtake which. Default: the connector's.
    pub ordering: Option<Ordering>,
    /// An event's key: a path (`.partitionkey`, `.subject`, another attribute, `.data.field.field`) or a jq program over the
    /// event, such as `.subject // .id`. Default: `.partitionkey`.
    #[schemars(example = &".partitionkey")]
    pub key: Option<String>,
    /// When the mesh gets its acknowledgement (sinks).
    pub acknowledge: Acknowledge,
    /// Batching (sinks). Default: the connector's.
    pub batch: BatchSettings,
    /// Writes at the same time (sinks). Default: the connector's.
    pub in_flight: Option<usize>,
    /// Events written in a time, at the most (sinks): a number is events a second; `{ count: 20, per: 1m, by: target }` limits each
    /// target for itself; of a list all hold. Another attempt counts again. Default: no limit.
    pub rate_limit: Option<RateLimitSetting>,
    /// What to do after a failure that is worth another try.
    pub retry: RetrySettings,
    /// How long a shutdown may wait for what is in flight. Default 20s.
    pub shutdown_timeout: Option<HumanDuration>,
    /// Stops the connector when the target is broken rather than the events.
    pub circuit: CircuitSettings,
}

/// `delivery.rate_limit`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RateLimitSetting {
    /// Events a second, by the connector.
    PerSecond(NonZeroU32),
    /// One limit.
    One(RateLimit),
    /// Limits that all hold.
    All(Vec<RateLimit>),
}

impl RateLimitSetting {
    /// The limits.
    pub fn limits(&self) -> Vec<RateLimit> {
        match self {
            Self::PerSecond(count) => vec![RateLimit {
                count: *count,
                per: one_second(),
                by: RateScope::Connector,
            }],
            Self::One(limit) => vec![limit.clone()],
            Self::All(limits) => limits.clone(),
        }
    }
}

/// At most `count` events in any time of the length `per`. What has been spent is known across restarts, where `per` is 5 seconds or
/// more.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Events.
    pub count: NonZeroU32,
    /// The time. Default 1s.
    #[serde(default = "one_second")]
    pub per: HumanDuration,
    /// What has a limit of its own. Default `connector`.
    #[serde(default)]
    pub by: RateScope,
}

fn one_second() -> HumanDuration {
    HumanDuration(Duration::from_secs(1))
}

/// What has a rate limit of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RateScope {
    /// All events of the connector together.
    #[default]
    Connector,
    /// The events of each target: of each URL, table or account.
    Target,
}

/// The `delivery.batch:` section.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSettings {
    /// Events in a batch at the most.
    pub max_events: Option<usize>,
    /// Bytes in a batch at the most.
    pub max_bytes: Option<ByteSize>,
    /// How long a batch that is not full waits.
    pub max_age: Option<HumanDuration>,
}

/// The `delivery.retry:` section: exponential back-off with full jitter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySettings {
    /// Upper bound of the first wait. Default 100ms.
    pub initial: HumanDuration,
    /// Upper bound of the back-off. A longer wait that the target asks for is kept, up to an hour. Default 30s.
    pub max: HumanDuration,
    /// Attempts before an event goes to the dead letters. Default: no limit, the connector waits for its target.
    pub max_attempts: Option<u32>,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            initial: HumanDuration(Duration::from_millis(100)),
            max: HumanDuration(Duration::from_secs(30)),
            max_attempts: None,
        }
    }
}

/// The `delivery.circuit:` section.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CircuitSettings {
    /// Stop when more than this many of the last `window` events were dead-lettered. Default 100.
    pub dead_letters: usize,
    /// How many of the last events count. Default 200.
    pub window: usize,
}

impl Default for CircuitSettings {
    fn default() -> Self {
        Self {
            dead_letters: 100,
            window: 200,
        }
    }
}

/// The `dead_letter:` section: at most one of `topic` and `file`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLetterSettings {
    /// A mesh topic.
    pub topic: Option<String>,
    /// A JSON-lines file; rotated files get a number. Default: `dead-letters.jsonl` in the state folder.
    pub file: Option<PathBuf>,
    /// Size at which the file is rotated. Default 64 MiB. Nothing is ever deleted.
    pub rotate: Option<ByteSize>,
}

/// The `state:` section.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StateSettings {
    /// The folder; an instance has its own below it, called by its name. Default `./state`.
    pub dir: PathBuf,
    /// Where a source's offsets are. Default: a file in the instance's folder. A URL (`postgres://`, `mysql://`,
    /// `mariadb://`, `sqlite://`) puts them into a database: of all processes with this name one is then active, the others
    /// stand by.
    #[schemars(example = &"postgres://openconnect:${env:STATE_PASSWORD:-change-me}@db.example.org/openconnect")]
    pub offsets: Option<Secret>,
    /// What the names of the tables in `offsets` begin with. Letters, digits and `_`. Default `openconnect_`.
    pub table_prefix: String,
    /// How long the active process may be silent before a standby takes over (with `offsets`). Default 6s.
    pub lease_ttl: HumanDuration,
    /// How often offsets are written (sources). Default 1s.
    pub flush_interval: HumanDuration,
    /// Largest size of the inbox on disk (sinks). Default 1 GiB. When it is full, nothing more is taken from the mesh.
    pub inbox_max: ByteSize,
}

impl Default for StateSettings {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("./state"),
            offsets: None,
            table_prefix: "openconnect_".to_owned(),
            lease_ttl: HumanDuration(Duration::from_secs(6)),
            flush_interval: HumanDuration(Duration::from_secs(1)),
            inbox_max: ByteSize(1 << 30),
        }
    }
}

/// The `limits:` section.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory for the process. Default: 64 MiB, or half of the cgroup's limit when that is less.
    pub memory: Option<ByteSize>,
    /// Largest event. Default 1 MiB.
    pub max_event_bytes: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: None,
            max_event_bytes: ByteSize(1 << 20),
        }
    }
}

/// The `admin:` section.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminSettings {
    /// `host:port`; port 0 takes a free one and logs it.
    #[schemars(example = &"127.0.0.1:9090")]
    pub listen: String,
}
