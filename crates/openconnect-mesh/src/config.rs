//! Settings of a mesh, with defaults that suit one machine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openconnect_config::bytes_size::ByteSize;
use openconnect_config::duration::HumanDuration;
use openconnect_config::secret::Secret;
use openconnect_config::tls::TlsServerSettings;
use openconnect_config::{Problems, Sources, load};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

use crate::MeshError;

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
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
    #[serde(deserialize_with = "size", serialize_with = "size_as_text")]
    #[schemars(with = "ByteSize")]
    pub segment_bytes: u64,
    /// Names and passwords of those who may connect, over both transports; write a password as `${env:NAME}` or
    /// `${file:/run/secrets/name}`. No user and no token: everybody may, as far as `allow_anonymous` and `tls` say.
    pub users: BTreeMap<String, Secret>,
    /// Tokens of those who may connect without a password, by name; over TCP only, as in EventMesh.
    pub tokens: BTreeMap<String, Secret>,
    /// What each user may do. A user that is not named may do nothing, or what `*` may. Empty: everybody may do everything.
    pub rights: BTreeMap<String, Rights>,
    /// Listen beyond loopback although anybody who reaches the port may publish and read everything.
    pub allow_anonymous: bool,
    /// Certificate and key, when connections are to be encrypted; with `client_ca_file`, clients need a certificate too.
    pub tls: Option<TlsServerSettings>,
    /// Which topics there can be.
    pub topics: Topics,
    /// How long events are kept.
    pub retention: Retention,
    /// How events are handed to subscribers.
    pub delivery: Delivery,
    /// Bounds on what clients may ask for.
    pub limits: Limits,
}

/// What one user may do. A pattern is a name, or its beginning and `*`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rights {
    /// Topics to publish to: events, batches, broadcasts and requests.
    pub publish: Vec<String>,
    /// Topics to subscribe to.
    pub subscribe: Vec<String>,
    /// Consumer groups to subscribe in.
    pub groups: Vec<String>,
}

/// Which topics there can be.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// They stay, and publishes are refused until there is room.
    Refuse,
    /// The oldest go, and the group never sees them.
    DropOldest,
}

/// How long events are kept.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Consumed events older than this go.
    #[serde(deserialize_with = "duration", serialize_with = "duration_as_text")]
    #[schemars(with = "HumanDuration")]
    pub max_age: Duration,
    /// A topic's size. Consumed events go first.
    #[serde(deserialize_with = "size", serialize_with = "size_as_text")]
    #[schemars(with = "ByteSize")]
    pub max_bytes: u64,
    /// What happens when unconsumed events fill it.
    pub when_full: WhenFull,
}

/// Where a new group begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the oldest event that is kept.
    Earliest,
    /// With the next event.
    Latest,
}

/// How events are handed to subscribers.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Delivery {
    /// Where a new group begins.
    pub new_group: Start,
    /// An event that is not acknowledged for this long is delivered again.
    #[serde(deserialize_with = "duration", serialize_with = "duration_as_text")]
    #[schemars(with = "HumanDuration")]
    pub redeliver_after: Duration,
    /// Unacknowledged events per subscriber.
    pub max_unacknowledged: usize,
    /// The same in bytes.
    #[serde(deserialize_with = "size", serialize_with = "size_as_text")]
    #[schemars(with = "ByteSize")]
    pub max_unacknowledged_bytes: u64,
    /// How often cursors of groups are saved.
    #[serde(deserialize_with = "duration", serialize_with = "duration_as_text")]
    #[schemars(with = "HumanDuration")]
    pub save_cursors_every: Duration,
}

/// Bounds on what clients may ask for.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest event.
    #[serde(deserialize_with = "size", serialize_with = "size_as_text")]
    #[schemars(with = "ByteSize")]
    pub max_event_bytes: u64,
    /// Open connections, of both transports each.
    pub max_connections: usize,
    /// The same of one client address. Absent: a quarter of `max_connections`; for loopback no bound of its own.
    #[schemars(example = &250)]
    pub max_connections_per_address: Option<usize>,
    /// Topics that one session or stream may be subscribed to.
    pub max_subscriptions: usize,
    /// Calls and streams that one gRPC connection may have open.
    pub max_streams: u32,
    /// Consumer groups per topic.
    pub max_groups: usize,
    /// Requests that wait for a reply.
    pub max_requests: usize,
    /// A connection that is not encrypted and greeted by then is closed.
    #[serde(deserialize_with = "duration", serialize_with = "duration_as_text")]
    #[schemars(with = "HumanDuration")]
    pub handshake_timeout: Duration,
    /// A frame that has begun must have come whole by then.
    #[serde(deserialize_with = "duration", serialize_with = "duration_as_text")]
    #[schemars(with = "HumanDuration")]
    pub frame_timeout: Duration,
    /// A session that sends nothing for this long is closed.
    #[serde(deserialize_with = "duration", serialize_with = "duration_as_text")]
    #[schemars(with = "HumanDuration")]
    pub session_timeout: Duration,
    /// Recent events of all topics that are kept in memory for subscribers that keep up.
    #[serde(deserialize_with = "size", serialize_with = "size_as_text")]
    #[schemars(with = "ByteSize")]
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
            tokens: BTreeMap::new(),
            rights: BTreeMap::new(),
            allow_anonymous: false,
            tls: None,
            topics: Topics::default(),
            retention: Retention::default(),
            delivery: Delivery::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Rights {
    fn default() -> Self {
        Self {
            publish: Vec::new(),
            subscribe: Vec::new(),
            groups: vec!["*".to_owned()],
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
            max_connections_per_address: None,
            max_subscriptions: 256,
            max_streams: 128,
            max_groups: 1000,
            max_requests: 10_000,
            handshake_timeout: Duration::from_secs(10),
            frame_timeout: Duration::from_secs(60),
            session_timeout: Duration::from_secs(90),
            memory: 64 << 20,
        }
    }
}

impl Config {
    /// Reads a YAML, TOML or JSON file with its placeholders. All mistakes are reported at once.
    pub fn load(file: &Path) -> Result<Self, MeshError> {
        let mut sources = Sources::of_process(Some(file.to_owned()), Vec::new());
        // Those are settings of connectors.
        sources.environment.retain(|name, _| !name.starts_with("OPENCONNECT__"));
        load(&sources, Self::validate).map_err(|rejected| MeshError::Settings(rejected.into()))
    }

    /// Checks what types cannot say.
    fn validate(&self, problems: &mut Problems) {
        let known = |user: &str| self.users.contains_key(user) || self.tokens.contains_key(user);
        for (user, rights) in &self.rights {
            if user != "*" && !known(user) {
                problems.add(
                    format!("rights.{user}"),
                    "is no user: it has no password in `users` and no token in `tokens`",
                );
            }
            for (what, patterns) in [
                ("publish", &rights.publish),
                ("subscribe", &rights.subscribe),
                ("groups", &rights.groups),
            ] {
                for (n, pattern) in patterns.iter().enumerate() {
                    if pattern.trim_end_matches('*').contains('*') || pattern.ends_with("**") {
                        problems.add(format!("rights.{user}.{what}.{n}"), "has a `*` that is not its only one at the end");
                    }
                }
            }
        }
        if !self.rights.is_empty() && self.users.is_empty() && self.tokens.is_empty() {
            problems.add("rights", "has no effect without `users` or `tokens`: nobody says who they are");
        }
        for name in &self.topics.create {
            if let Err(reason) = crate::names::check_topic(name) {
                problems.add("topics.create", reason);
            }
        }
    }

    /// Refuses to be reachable from elsewhere by everybody. Says whether passwords would travel unencrypted.
    pub(crate) fn check_exposure(&self) -> Result<bool, MeshError> {
        let open = |address: &SocketAddr| !address.ip().to_canonical().is_loopback();
        let Some(address) = [Some(self.tcp), self.grpc].into_iter().flatten().find(open) else {
            return Ok(false);
        };
        let passwords = !self.users.is_empty() || !self.tokens.is_empty();
        let certificates = self.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
        if !passwords && !certificates && !self.allow_anonymous {
            return Err(MeshError::Exposed(address));
        }
        Ok(passwords && self.tls.is_none())
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
    HumanDuration::deserialize(deserializer).map(|duration| duration.0)
}

/// What `config example` prints must be what is read.
fn duration_as_text<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    HumanDuration(*duration).serialize(serializer)
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    ByteSize::deserialize(deserializer).map(|size| size.0)
}

fn size_as_text<S: Serializer>(size: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    ByteSize(*size).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use openconnect_config::{contradictions, schema};

    use super::*;

    #[test]
    fn the_example_and_the_defaults_hold() {
        let found = contradictions(&schema::<Config>(), "mesh", |sources| {
            load(sources, Config::validate).map(|config| format!("{config:?}"))
        });
        assert!(found.is_empty(), "{found:#?}");
    }
}
