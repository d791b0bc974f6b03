//! The bodies of the TCP session commands (`UserAgent.java`, `Subscription.java`, `RedirectInfo.java` of EventMesh 1.x).

use serde::{Deserialize, Serialize};

/// Role of a connection: it has one, set by HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Publishes.
    Pub,
    /// Subscribes.
    Sub,
}

/// Body of HELLO_REQUEST. `subsystem`, `idc` and `group` must not be empty: the server adds them to what it pushes.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct UserAgent {
    pub env: Option<String>,
    pub subsystem: Option<String>,
    pub path: Option<String>,
    #[serde(deserialize_with = "number")]
    pub pid: i64,
    pub host: Option<String>,
    #[serde(deserialize_with = "number")]
    pub port: i64,
    /// The server refuses a HELLO without it.
    #[serde(default)]
    pub version: Option<String>,
    pub username: Option<String>,
    pub password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    pub idc: Option<String>,
    pub group: Option<String>,
    pub purpose: Option<String>,
    #[serde(deserialize_with = "number")]
    pub unack: i64,
}

/// A number, also when it is written as text: Java takes both.
fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }
    match Either::deserialize(deserializer)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

impl Default for UserAgent {
    fn default() -> Self {
        Self {
            env: None,
            subsystem: None,
            path: Some("/".into()),
            pid: 0,
            host: None,
            port: 0,
            version: Some("2.0".into()),
            username: None,
            password: None,
            token: None,
            idc: None,
            group: None,
            purpose: None,
            unack: 0,
        }
    }
}

impl std::fmt::Debug for UserAgent {
    /// Without password and token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserAgent")
            .field("subsystem", &self.subsystem)
            .field("group", &self.group)
            .field("purpose", &self.purpose)
            .field("pid", &self.pid)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// How a group gets the events of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SubscriptionMode {
    /// Each event to one member of the group.
    #[default]
    Clustering,
    /// Each event to every member.
    Broadcasting,
    /// What a client sends that knows a mode which this enum does not.
    Unrecognized,
}

/// Whether an answer is expected to each event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SubscriptionType {
    /// Acknowledged only.
    #[default]
    Async,
    /// Answered with an event.
    Sync,
    /// As for [`SubscriptionMode::Unrecognized`].
    Unrecognized,
}

/// One topic of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionItem {
    /// The topic.
    pub topic: String,
    /// Default CLUSTERING.
    #[serde(default)]
    pub mode: SubscriptionMode,
    /// Default ASYNC.
    #[serde(default, rename = "type")]
    pub kind: SubscriptionType,
}

/// Body of SUBSCRIBE_REQUEST.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// The topics.
    pub topic_list: Vec<SubscriptionItem>,
}

/// Body of REDIRECT_TO_CLIENT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedirectInfo {
    /// Host to connect to instead.
    pub ip: String,
    /// Its port.
    pub port: u16,
}
