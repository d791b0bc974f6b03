//! What both transports share: the topics, the requests that wait for a reply, and what must be done from time to time.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use openconnect_config::folder::private_folder;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::MeshError;
use crate::auth::{Action, Gate, User};
use crate::clock::{millis, now_ms};
use crate::config::Config;
use crate::connection::Doors;
use crate::convert::Form;
use crate::group::{Group, Outlet};
use crate::lock::locked;
use crate::log::record::Request;
use crate::log::topic::Topic;
use crate::names::{check_group, check_topic, dir_of_topic, topic_of_dir};
use crate::refusal::Refusal;

pub(crate) struct Broker {
    pub(crate) config: Arc<Config>,
    pub(crate) gate: Gate,
    topics: RwLock<HashMap<Arc<str>, Arc<Topic>>>,
    creating: tokio::sync::Mutex<()>,
    requests: Mutex<HashMap<u64, oneshot::Sender<Form>>>,
    numbers: AtomicU64,
    /// Marks the requests of this run.
    run: u64,
    pub(crate) stopping: AtomicBool,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Connections of the TCP protocol.
    pub(crate) tcp: Arc<Doors>,
    /// Connections of gRPC.
    pub(crate) grpc: Arc<Doors>,
    _lock: File,
}

/// Nobody waits longer for a reply.
const MAX_TTL: Duration = Duration::from_secs(600);

/// How long a client waits that says `ms`.
pub(crate) fn ttl(ms: u64) -> Duration {
    Duration::from_millis(ms).min(MAX_TTL)
}

/// A member's place in a group; leaving it gives back what was not acknowledged.
pub(crate) struct Membership {
    pub(crate) topic: Arc<Topic>,
    pub(crate) group: Arc<Group>,
    pub(crate) member: u64,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.group.leave(self.member);
        if !self.group.durable {
            self.topic.end_broadcast(&self.group);
        }
    }
}

impl Broker {
    /// Opens all topics. Blocks.
    pub(crate) fn open(config: Config) -> Result<Arc<Self>, MeshError> {
        let config = Arc::new(config);
        let dir = config.data.join("topics");
        private_folder(&config.data).map_err(|source| MeshError::Io {
            path: config.data.clone(),
            source,
        })?;
        private_folder(&dir).map_err(|source| MeshError::Io { path: dir.clone(), source })?;
        let lock = take_lock(&config)?;
        let mut topics = HashMap::new();
        for entry in fs::read_dir(&dir).map_err(|source| MeshError::Io { path: dir.clone(), source })? {
            let entry = entry.map_err(|source| MeshError::Io { path: dir.clone(), source })?;
            let Some(name) = entry.file_name().to_str().and_then(topic_of_dir) else {
                tracing::warn!(path = %entry.path().display(), "left alone: not a topic's folder");
                continue;
            };
            let topic = Topic::open(&name, &entry.path(), &config)?;
            topics.insert(Arc::clone(&topic.name), topic);
        }
        for name in &config.topics.create {
            if topics.contains_key(name.as_str()) {
                continue;
            }
            check_topic(name).map_err(|reason| MeshError::Config(format!("topics.create: `{name}`: {reason}")))?;
            let topic = Topic::open(name, &dir.join(dir_of_topic(name)), &config)?;
            topics.insert(Arc::clone(&topic.name), topic);
        }
        Ok(Arc::new(Self {
            gate: Gate::new(&config),
            tcp: Doors::new(&config.limits),
            grpc: Doors::new(&config.limits),
            config,
            topics: RwLock::new(topics),
            creating: tokio::sync::Mutex::new(()),
            requests: Mutex::default(),
            numbers: AtomicU64::new(1),
            run: now_ms(),
            stopping: AtomicBool::new(false),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            _lock: lock,
        }))
    }

    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn known_topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(crate) fn all_topics(&self) -> Vec<Arc<Topic>> {
        self.topics
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// The topic, made when it is new and that is allowed.
    pub(crate) async fn topic(&self, name: &str) -> Result<Arc<Topic>, Refusal> {
        if let Some(topic) = self.known_topic(name) {
            return Ok(topic);
        }
        check_topic(name).map_err(Refusal::for_good)?;
        if !self.config.topics.auto_create {
            return Err(Refusal::for_good(format!("unknown topic: `{name}`")));
        }
        let _one_at_a_time = self.creating.lock().await;
        if let Some(topic) = self.known_topic(name) {
            return Ok(topic);
        }
        if self.all_topics().len() >= self.config.topics.max {
            return Err(Refusal::for_good(format!("no topic `{name}`: there are the most that are allowed")));
        }
        let (dir, config, owned) = (
            self.config.data.join("topics").join(dir_of_topic(name)),
            Arc::clone(&self.config),
            name.to_owned(),
        );
        let opened = tokio::task::spawn_blocking(move || Topic::open(&owned, &dir, &config)).await;
        let topic = match opened {
            Ok(Ok(topic)) => topic,
            Ok(Err(error)) => return Err(Refusal::passing(error.to_string())),
            Err(error) => return Err(Refusal::passing(error.to_string())),
        };
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.insert(Arc::clone(&topic.name), Arc::clone(&topic));
        tracing::info!(topic = name, "new topic");
        Ok(topic)
    }

    /// The topic, for somebody who may publish to it.
    pub(crate) async fn topic_to_publish(&self, user: &User, name: &str) -> Result<Arc<Topic>, Refusal> {
        self.gate.check(user, Action::Publish, name)?;
        self.topic(name).await
    }

    /// The topic, for somebody who may subscribe to it in the group.
    pub(crate) async fn topic_to_subscribe(&self, user: &User, name: &str, group: &str) -> Result<Arc<Topic>, Refusal> {
        check_group(group).map_err(Refusal::for_good)?;
        self.gate.check(user, Action::Subscribe, name)?;
        self.gate.check(user, Action::Join, group)?;
        self.topic(name).await
    }

    /// Makes `outlet` a member of the group, or the only member of a broadcast group.
    pub(crate) async fn subscribe(
        &self,
        topic: Arc<Topic>,
        group: &str,
        broadcast: bool,
        member: u64,
        outlet: Arc<dyn Outlet>,
    ) -> Result<Membership, Refusal> {
        let group = if broadcast {
            topic.broadcast_group(group)
        } else {
            let (at, name) = (Arc::clone(&topic), group.to_owned());
            let found = tokio::task::spawn_blocking(move || at.group(&name)).await;
            found.map_err(|e| Refusal::passing(e.to_string()))??.0
        };
        if group.join(member, outlet, self.run) {
            self.tasks
                .spawn(Arc::clone(&group).run(Arc::clone(topic.entries()), self.stop.clone()));
        }
        Ok(Membership { topic, group, member })
    }

    /// Registers a request; its reply comes through the receiver.
    pub(crate) fn open_request(&self, ttl: Duration) -> Result<(Request, oneshot::Receiver<Form>), Refusal> {
        let mut requests = locked(&self.requests);
        if requests.len() >= self.config.limits.max_requests {
            return Err(Refusal::passing("too many requests wait for a reply"));
        }
        let id = self.number();
        let (sender, receiver) = oneshot::channel();
        requests.insert(id, sender);
        Ok((
            Request {
                run: self.run,
                id,
                deadline_ms: now_ms().saturating_add(millis(ttl)),
            },
            receiver,
        ))
    }

    pub(crate) fn close_request(&self, id: u64) {
        locked(&self.requests).remove(&id);
    }

    pub(crate) fn reply(&self, id: u64, reply: Form) -> bool {
        locked(&self.requests)
            .remove(&id)
            .is_some_and(|waiting| waiting.send(reply).is_ok())
    }

    /// Saves cursors and removes old segments until the mesh stops.
    pub(crate) async fn housekeeping(self: Arc<Self>) {
        let mut tick = tokio::time::interval(self.config.delivery.save_cursors_every);
        let mut round = 0_u32;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.stop.cancelled() => return,
            }
            round = round.wrapping_add(1);
            let (topics, tidy) = (self.all_topics(), round.is_multiple_of(4));
            let work = tokio::task::spawn_blocking(move || {
                for topic in topics {
                    topic.save_cursors();
                    if tidy {
                        topic.tidy();
                    }
                }
            });
            if let Err(error) = work.await {
                tracing::error!(%error, "housekeeping failed");
            }
        }
    }
}

fn take_lock(config: &Config) -> Result<File, MeshError> {
    let path = config.data.join("lock");
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
    let file = file.map_err(|source| MeshError::Io {
        path: path.clone(),
        source,
    })?;
    file.try_lock().map_err(|_| {
        let source = std::io::Error::new(std::io::ErrorKind::ResourceBusy, "another mesh uses this directory");
        MeshError::Io {
            path: config.data.clone(),
            source,
        }
    })?;
    Ok(file)
}

/// The control socket.
pub(crate) fn control_path(data: &std::path::Path) -> PathBuf {
    data.join("control.sock")
}
