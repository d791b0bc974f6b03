//! The settings that every connector has.

use std::num::NonZeroU32;
use std::path::PathBuf;

use openconnect_config::LogSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NO_EFFECT;
use crate::bytes_size::ByteSize;
use crate::duration::HumanDuration;
use crate::secret::Secret;
use crate::sink::Ordering;

// What a change does to events, where several settings say the same.
const OTHER_ORDER: &str = "which events may overtake which, also among those that wait already; nothing is repeated or left out";
const OTHER_OFFSETS: &str = "offsets are NOT MOVED: without them the source begins as if for the first time, and may REPEAT. `offsets show` \
    and `offsets set` carry them over";
const OTHER_ACKNOWLEDGEMENT: &str = "what is in the inbox is delivered first; nothing is left out";
const OTHER_DEAD_LETTERS: &str = "old dead letters stay where they are; `dead-letters` looks at the new place";

/// A connector's whole configuration but its own section.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The instance: offsets, consumer group, state folder and metrics carry it. Letters, digits, `-` and `_`.
    #[schemars(example = &"orders", extend("x-effect" = {
        "source": "another instance: it has no offsets and begins as if for the first time, so events may be REPEATED, or left out \
         where it begins at the present; offsets and dead letters of the old one stay where they are",
        "sink": "another instance: what is in the inbox and the dead letters of the old one STAYS there until it runs again; unless \
         mesh.group is set, the consumer group is another one too: the mesh decides where that begins (`delivery.new_group` of \
         openconnect-mesh; EventMesh 1.x: at the present, so events may be MISSED)",
    }))]
    pub name: String,
    /// Where EventMesh is and what to publish or subscribe there.
    pub mesh: MeshSettings,
    /// A topic whose events the source answers.
    #[schemars(extend("x-in-example" = true))]
    pub input: Option<InputSettings>,
    /// Steps applied to every event, in order.
    #[serde(default)]
    #[schemars(
        example = serde_json::json!([{ "filter": ".type != \"test\"" }]),
        extend(
            "x-effect" = "holds for every event from the restart on, also for those that wait in the inbox; what was published or \
             delivered stays as it is"
        )
    )]
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
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub admin: Option<AdminSettings>,
    /// Log output.
    #[serde(default)]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub log: LogSettings,
}

/// The `mesh:` section.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeshSettings {
    /// `tcp://host:10000[,host2:10000]` or `grpc://host:10205`; with `tls`: `tcps://`, `grpcs://`.
    #[schemars(example = &"tcp://127.0.0.1:10000", extend("x-effect" = {
        "source": "events go to the other mesh from the restart on",
        "sink": "another mesh has other events: what is left in the old one is NOT READ by this sink",
    }))]
    pub url: String,
    /// The topic to publish to (source) or to subscribe to (sink).
    #[schemars(example = &"orders", extend("x-effect" = {
        "source": "events go to the other topic from the restart on; who reads the old one gets no more of them",
        "sink": "the other topic is read from the restart on; what is left in the old one is NOT READ by this sink, and waits for its \
         group",
    }))]
    pub topic: String,
    /// Consumer group (sink) or producer group (source). Absent: the instance's name.
    #[schemars(example = &"orders", extend("x-effect" = {
        "source": "the producer's name; nothing is repeated or left out",
        "sink": "another consumer group: the mesh decides where it begins (`delivery.new_group` of openconnect-mesh: `earliest` \
         REPEATS the topic; EventMesh 1.x begins at the present, so events may be MISSED); the old group keeps its place",
    }))]
    pub group: Option<String>,
    /// User name.
    #[schemars(example = &"orders", extend("x-effect" = NO_EFFECT))]
    pub username: Option<String>,
    /// Password.
    #[schemars(example = &"${env:MESH_PASSWORD:-change-me}", extend("x-effect" = NO_EFFECT))]
    pub password: Option<Secret>,
    /// Token, for servers that check one.
    #[schemars(example = &"${env:MESH_TOKEN:-change-me}", extend("x-effect" = NO_EFFECT))]
    pub token: Option<Secret>,
    /// TLS settings for `tcps://` and `grpcs://`.
    #[serde(default)]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub tls: crate::tls::TlsSettings,
    /// Connections to publish over; events of one key keep to one connection.
    #[serde(default = "default_connections")]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub connections: usize,
    /// Publishes in flight per connection. Absent: 4096 when the server keeps order on refusal, 1 otherwise.
    #[schemars(example = &4096, extend("x-effect" = NO_EFFECT))]
    pub window: Option<usize>,
    /// How long one request may take before its connection counts as broken.
    #[serde(default = "default_request_timeout")]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub request_timeout: HumanDuration,
    /// Interval of heartbeats. A server that answers none within the interval counts as gone.
    #[serde(default = "default_heartbeat")]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub heartbeat: HumanDuration,
    /// Longest wait between two attempts to connect.
    #[serde(default = "default_reconnect_max")]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub reconnect_max: HumanDuration,
}

fn default_connections() -> usize {
    1
}

fn default_request_timeout() -> HumanDuration {
    HumanDuration::seconds(10)
}

fn default_heartbeat() -> HumanDuration {
    HumanDuration::seconds(10)
}

fn default_reconnect_max() -> HumanDuration {
    HumanDuration::seconds(10)
}

/// The `input:` section: a topic whose events the source answers. They are subscribed to at `mesh.url`, with the rights and limits of
/// `mesh`; `delivery.ordering` and `delivery.retry` hold for them, and those that can't be handled go to the dead letters.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputSettings {
    /// The topic to subscribe to. Not `mesh.topic`: the source would answer itself.
    #[schemars(example = &"questions", extend(
        "x-effect" = "the other topic is read from the restart on; what is left in the old one is NOT READ, and waits for its group. What is \
         in the inbox is answered first"
    ))]
    pub topic: String,
    /// Consumer group. Absent: the instance's name.
    #[schemars(example = &"questions", extend(
        "x-effect" = "another consumer group: the mesh decides where it begins (`delivery.new_group` of openconnect-mesh: `earliest` REPEATS the \
         topic; EventMesh 1.x begins at the present, so events may be MISSED); the old group keeps its place"
    ))]
    pub group: Option<String>,
    /// When the mesh gets its acknowledgement: after the event is in the local inbox (`inbox`), or after its answers are confirmed
    /// (`write`). `auto` is `write` when the mesh redelivers, else `inbox`.
    #[serde(default)]
    #[schemars(extend("x-effect" = OTHER_ACKNOWLEDGEMENT))]
    pub acknowledge: Acknowledge,
    /// An event's key, as in `delivery.key`: an event is given to the source when the one before it of the same key is done.
    #[serde(default = "default_key")]
    #[schemars(extend("x-effect" = OTHER_ORDER))]
    pub key: String,
    /// Events that the source works on at the same time. Absent: the connector's own.
    #[schemars(example = &16, extend("x-effect" = NO_EFFECT))]
    pub in_flight: Option<usize>,
    /// Steps applied to every event before the source gets it, in order.
    #[serde(default)]
    #[schemars(
        example = serde_json::json!([{ "filter": ".type != \"test\"" }]),
        extend("x-effect" = "holds for every event from the restart on, also for those that wait in the inbox")
    )]
    pub transforms: Vec<crate::transform::TransformConfig>,
}

fn default_key() -> String {
    ".partitionkey".to_owned()
}

/// The guarantees, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeliverySettings {
    /// The connector refuses to start below this guarantee.
    #[schemars(extend("x-effect" = "says when the connector refuses to start; changes nothing for events"))]
    pub require: Guarantee,
    /// Which events may overtake which. Absent: the connector's own.
    #[schemars(example = &"key", extend("x-effect" = OTHER_ORDER))]
    pub ordering: Option<Ordering>,
    /// An event's key: a path (`.partitionkey`, `.subject`, another attribute, `.data.field.field`) or a jq program over the
    /// event, such as `.subject // .id`.
    #[schemars(extend("x-effect" = OTHER_ORDER))]
    pub key: String,
    /// When the mesh gets its acknowledgement (sinks).
    #[schemars(extend("x-effect" = OTHER_ACKNOWLEDGEMENT))]
    pub acknowledge: Acknowledge,
    /// Batching (sinks). Absent: the connector's own.
    #[schemars(extend("x-only" = "sink", "x-effect" = NO_EFFECT))]
    pub batch: BatchSettings,
    /// Writes at the same time (sinks). Absent: the connector's own.
    #[schemars(example = &4, extend("x-only" = "sink", "x-effect" = NO_EFFECT))]
    pub in_flight: Option<usize>,
    /// Events written in a time, at the most (sinks): a number is events a second; `{ count: 20, per: 1m, by: target }` limits each
    /// target for itself; of a list all hold. Another attempt counts again. Absent: no limit.
    #[schemars(
        example = &100,
        extend(
            "x-only" = "sink",
            "x-effect" = "events wait longer or shorter from the restart on; none is left out"
        )
    )]
    pub rate_limit: Option<RateLimitSetting>,
    /// What to do after a failure that is worth another try.
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub retry: RetrySettings,
    /// How long a shutdown may wait for what is in flight.
    #[schemars(extend("x-effect" = "shorter: more events may be repeated after a stop, where the guarantee allows it; none is left out"))]
    pub shutdown_timeout: HumanDuration,
    /// Stops the connector when the target is broken rather than the events.
    #[schemars(extend("x-effect" = "says when the connector stops; the events that come then wait in the mesh, or at the source"))]
    pub circuit: CircuitSettings,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            require: Guarantee::AtLeastOnce,
            ordering: None,
            key: default_key(),
            acknowledge: Acknowledge::default(),
            batch: BatchSettings::default(),
            in_flight: None,
            rate_limit: None,
            retry: RetrySettings::default(),
            shutdown_timeout: HumanDuration::seconds(20),
            circuit: CircuitSettings::default(),
        }
    }
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
    /// The time.
    #[serde(default = "one_second")]
    pub per: HumanDuration,
    /// What has a limit of its own.
    #[serde(default)]
    pub by: RateScope,
}

fn one_second() -> HumanDuration {
    HumanDuration::seconds(1)
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
    #[schemars(example = &100)]
    pub max_events: Option<usize>,
    /// Bytes in a batch at the most.
    #[schemars(example = &"1MiB")]
    pub max_bytes: Option<ByteSize>,
    /// How long a batch that is not full waits.
    #[schemars(example = &"100ms")]
    pub max_age: Option<HumanDuration>,
}

/// The `delivery.retry:` section: exponential back-off with full jitter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySettings {
    /// Upper bound of the first wait.
    pub initial: HumanDuration,
    /// Upper bound of the back-off. A longer wait that the target asks for is kept, up to an hour.
    pub max: HumanDuration,
    /// Attempts before an event goes to the dead letters. Absent: no limit, the connector waits for its target.
    #[schemars(example = &10, extend("x-effect" = "fewer attempts put events among the dead letters sooner; they can be replayed"))]
    pub max_attempts: Option<u32>,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            initial: HumanDuration::millis(100),
            max: HumanDuration::seconds(30),
            max_attempts: None,
        }
    }
}

/// The `delivery.circuit:` section.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CircuitSettings {
    /// Stop when more than this many of the last `window` events were dead-lettered.
    pub dead_letters: usize,
    /// How many of the last events count.
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
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLetterSettings {
    /// A mesh topic.
    #[schemars(example = &"orders-dead-letters", extend("x-instead-of" = "file", "x-effect" = OTHER_DEAD_LETTERS))]
    pub topic: Option<String>,
    /// A JSON-lines file; rotated files get a number. Absent: `dead-letters.jsonl` in the state folder.
    #[schemars(example = &"./dead-letters.jsonl", extend("x-effect" = OTHER_DEAD_LETTERS))]
    pub file: Option<PathBuf>,
    /// Size at which the file is rotated. Nothing is ever deleted.
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub rotate: ByteSize,
}

impl Default for DeadLetterSettings {
    fn default() -> Self {
        Self {
            topic: None,
            file: None,
            rotate: ByteSize(64 << 20),
        }
    }
}

/// The `state:` section.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StateSettings {
    /// The folder; an instance has its own below it, called by its name.
    #[schemars(extend(
        "x-effect" = "offsets, inbox and dead letters are NOT MOVED: stop the connector, move the instance's folder, start it. Else a \
         source may REPEAT, and what is in a sink's inbox stays there"
    ))]
    pub dir: PathBuf,
    /// Where a source's offsets are. Absent: a file in the instance's folder. A URL (`postgres://`, `mysql://`,
    /// `mariadb://`, `sqlite://`) puts them into a database: of all processes with this name one is then active, the others
    /// stand by.
    #[schemars(example = &"postgres://openconnect:${env:STATE_PASSWORD:-change-me}@db.example.org/openconnect",
        extend("x-only" = "source", "x-instead-of" = "a file", "x-effect" = OTHER_OFFSETS))]
    pub offsets: Option<Secret>,
    /// What the names of the tables in `offsets` begin with. Letters, digits and `_`.
    #[schemars(extend("x-effect" = OTHER_OFFSETS))]
    pub table_prefix: String,
    /// How long the active process may be silent before a standby takes over (with `offsets`).
    #[schemars(extend("x-effect" = "a standby takes over sooner or later; set it the same in all processes of this name"))]
    pub lease_ttl: HumanDuration,
    /// How often offsets are written (sources).
    #[schemars(extend("x-effect" = "longer: more events are repeated after a crash; none is left out"))]
    pub flush_interval: HumanDuration,
    /// Largest size of the inbox on disk: of a sink's, of a source's spool (`accept: spool`), and of the inbox of its `input`, for each. When
    /// it is full, nothing more is taken from the mesh, or from the source's callers.
    #[schemars(extend("x-effect" = "smaller than what is in the inbox: nothing more is taken until it is below; nothing is lost"))]
    pub inbox_max: ByteSize,
}

impl Default for StateSettings {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("./state"),
            offsets: None,
            table_prefix: "openconnect_".to_owned(),
            lease_ttl: HumanDuration::seconds(6),
            flush_interval: HumanDuration::seconds(1),
            inbox_max: ByteSize(1 << 30),
        }
    }
}

/// The `limits:` section.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory for the process. Absent: 64 MiB, or half of the cgroup's limit when that is less.
    #[schemars(example = &"64MiB", extend("x-effect" = NO_EFFECT))]
    pub memory: Option<ByteSize>,
    /// Largest event.
    #[schemars(extend("x-effect" = "larger events become dead letters"))]
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
