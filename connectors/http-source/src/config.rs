//! The `source:` section of the HTTP source.

use openconnect_core::bytes_size::ByteSize;
use openconnect_core::config::Import;
use openconnect_core::config::{ConnectorConfig, EventKind, NO_EFFECT, Problems};
use openconnect_core::duration::HumanDuration;
use openconnect_core::source::Accept;
use openconnect_core::template::Template;
use openconnect_core::tls::TlsServerSettings;
use openconnect_http::server::Auth;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::import;

// What a change does to events, where several settings say the same.
const OTHER_ADDRESS: &str = "senders that use the old address get no answer: they keep their events, if they try again";
const OTHER_LIMIT: &str = "requests that are over it are refused; the sender keeps their events";

/// What the server listens to and how requests become events.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSourceConfig {
    /// Address to listen on, `host:port`; port 0 takes a free one and logs it.
    #[schemars(example = &"127.0.0.1:8080", extend("x-effect" = OTHER_ADDRESS))]
    pub listen: String,
    /// Path of the webhook.
    #[serde(default = "default_path")]
    #[schemars(extend("x-effect" = OTHER_ADDRESS))]
    pub path: String,
    /// Take requests to any path below `path` too.
    #[serde(default)]
    #[schemars(extend("x-effect" = OTHER_ADDRESS))]
    pub prefix: bool,
    /// Methods that are taken.
    #[serde(default = "default_methods")]
    #[schemars(extend("x-effect" = "requests of other methods get 405: senders keep their events, if they try again"))]
    pub methods: Vec<String>,
    /// Who may send. Absent: everyone who can connect.
    #[serde(default)]
    #[schemars(extend("x-effect" = "senders with the old credentials get 401: they keep their events, if they try again"))]
    pub auth: Auth,
    /// Origins of CloudEvents senders that ask for consent before they send (OPTIONS with `WebHook-Request-Origin`, as Azure Event Grid
    /// does); `*` allows every origin. Default: none, OPTIONS is refused.
    #[serde(default)]
    #[schemars(extend("x-effect" = "senders that ask for consent and are not among them do not send"))]
    pub allowed_origins: Vec<String>,
    /// TLS; with `client_ca_file` clients need a certificate.
    #[schemars(extend("x-effect" = "clients that do not go with it can't connect: they keep their events, if they try again"))]
    pub tls: Option<TlsServerSettings>,
    /// Largest body, compressed and decompressed.
    #[serde(default = "default_max_body_bytes")]
    #[schemars(extend("x-effect" = OTHER_LIMIT))]
    pub max_body_bytes: ByteSize,
    /// How much larger a decompressed body may be than it came.
    #[serde(default = "default_max_decompression_ratio")]
    #[schemars(extend("x-effect" = OTHER_LIMIT))]
    pub max_decompression_ratio: u64,
    /// How long a client may take for its headers, and for its body.
    #[serde(default = "default_read_timeout")]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub read_timeout: HumanDuration,
    /// When a request is answered with success: when the mesh has its events, or when they are in the spool on this machine's disk
    /// (`state.inbox_max` bounds it), from where they are published, also after the mesh was down for long. `spool` is for senders that
    /// neither wait nor send again. A crash loses none of its events; the loss of the disk loses those that the mesh does not have.
    #[serde(default)]
    #[schemars(extend("x-effect" = "what is in the spool is published first; nothing is left out"))]
    pub accept: Accept,
    /// How long a request waits for the mesh, or for the spool's disk, before it is answered with 503.
    #[serde(default = "default_response_timeout")]
    #[schemars(extend(
        "x-effect" = "shorter: more requests are answered with 503 and sent again, which REPEATS events whose publish was on its way"
    ))]
    pub response_timeout: HumanDuration,
    /// Code of a successful answer.
    #[serde(default = "default_response_code")]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub response_code: u16,
    /// Connections at the same time.
    #[serde(default = "default_max_connections")]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub max_connections: usize,
    /// How a body that is no CloudEvent becomes one.
    #[serde(default)]
    #[schemars(extend(
        "x-effect" = "attributes differ from the restart on: another id means that a repeat across the change is not recognised"
    ))]
    pub event: EventMapping,
}

fn default_path() -> String {
    "/".into()
}
fn default_methods() -> Vec<String> {
    vec!["POST".into()]
}
fn default_max_body_bytes() -> ByteSize {
    ByteSize(1 << 20)
}
fn default_max_decompression_ratio() -> u64 {
    200
}
fn default_read_timeout() -> HumanDuration {
    HumanDuration::seconds(30)
}
fn default_response_timeout() -> HumanDuration {
    HumanDuration::seconds(10)
}
fn default_response_code() -> u16 {
    202
}
fn default_max_connections() -> usize {
    1024
}

/// How a body that is no CloudEvent becomes one. The texts are templates over `headers` (names in lower case with `_` for
/// `-`), `query`, `path`, `method` and `data`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventMapping {
    /// A sender whose requests are known.
    pub preset: Preset,
    /// `id`. Absent: a new UUID.
    #[schemars(example = &"{{ headers.x_request_id }}")]
    pub id: Option<String>,
    /// `source`. Absent: `/openconnect/<name>`.
    #[schemars(example = &"/shop/webhook")]
    pub source: Option<String>,
    /// `type`. Absent: `eventmesh.openconnect.http.request`.
    #[schemars(example = &"org.example.order")]
    #[serde(rename = "type")]
    pub ty: Option<String>,
    /// `subject`. Absent: none.
    #[schemars(example = &"{{ data.id }}")]
    pub subject: Option<String>,
    /// `partitionkey`: events of one key stay in order. Absent: none.
    #[schemars(example = &"{{ data.customer }}")]
    pub partitionkey: Option<String>,
}

/// A sender whose requests are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// None: only the templates.
    #[default]
    None,
    /// GitHub: `com.github.<event>.<action>`, keyed by repository, the delivery's id.
    Github,
}

impl ConnectorConfig for HttpSourceConfig {
    fn events() -> &'static [EventKind] {
        &[
            EventKind {
                ty: "<the event's own>",
                when: "a request is a CloudEvent, or a batch of them",
                data: "as it was sent",
                attributes: "as they were sent",
            },
            EventKind {
                ty: "<source.event.type>",
                when: "a request is no CloudEvent",
                data: "the body, of the request's content type",
                attributes: "of the templates in `source.event`; `traceparent` of the request's header",
            },
            EventKind {
                ty: "com.github.<event>.<action>",
                when: "with `preset: github`: a webhook's delivery; without `.<action>` where it has none",
                data: "GitHub's payload",
                attributes: "`id` the delivery's, `subject` the number of issue or pull request, or the ref, `partitionkey` the repository or organization",
            },
        ]
    }

    fn import(import: &mut Import) {
        import::import(import);
    }

    fn validate(&self, problems: &mut Problems) {
        if self
            .listen
            .rsplit_once(':')
            .is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
        {
            problems.add("listen", "write host:port, for instance 127.0.0.1:8080");
        }
        if !self.path.starts_with('/') {
            problems.add("path", "must begin with /");
        } else if !is_path(&self.path) {
            problems.add(
                "path",
                "is not what a request can have: no query, and other characters than ASCII letters, digits and signs percent-encoded",
            );
        }
        if self.methods.is_empty() {
            problems.add("methods", "is empty: every request would be refused");
        }
        if !(200..300).contains(&self.response_code) {
            problems.add("response_code", "must be from 200 to 299");
        }
        for (at, method) in self.methods.iter().enumerate() {
            if http::Method::from_bytes(method.as_bytes()).is_err() || method.to_uppercase() != *method {
                problems.add(format!("methods.{at}"), "is no HTTP method in capital letters");
            }
        }
        for (name, zero) in [
            ("max_body_bytes", self.max_body_bytes.0 == 0),
            ("max_connections", self.max_connections == 0),
            ("max_decompression_ratio", self.max_decompression_ratio == 0),
            ("read_timeout", self.read_timeout.0.is_zero()),
            ("response_timeout", self.response_timeout.0.is_zero()),
        ] {
            if zero {
                problems.add(name, "must be more than 0");
            }
        }
        for (setting, reason) in self.auth.mistakes() {
            problems.add(format!("auth.{setting}"), reason);
        }
        let event = &self.event;
        let templates = [
            ("id", &event.id),
            ("source", &event.source),
            ("type", &event.ty),
            ("subject", &event.subject),
            ("partitionkey", &event.partitionkey),
        ];
        for (name, text) in templates {
            if let Some(Err(error)) = text.as_deref().map(Template::compile) {
                problems.add(format!("event.{name}"), error.reason());
            } else if text.is_some() && event.preset != Preset::None {
                problems.add(
                    format!("event.{name}"),
                    "is not used with a preset, which sets it; leave one of the two out, or set the attribute with a transform",
                );
            }
        }
    }
}

/// Is it a path as requests have it?
fn is_path(text: &str) -> bool {
    let parsed = text.parse::<http::uri::PathAndQuery>();
    text.is_ascii() && parsed.is_ok_and(|parsed| parsed.path() == text && parsed.query().is_none())
}

#[cfg(test)]
mod tests {
    use openconnect_core::config::{Section, contradictions};

    use super::*;

    #[test]
    fn what_would_be_ignored_or_never_fit_is_refused() {
        for (settings, path) in [
            (serde_json::json!({ "path": "/a?b=c" }), Some("path")),
            (serde_json::json!({ "path": "/a b" }), Some("path")),
            (serde_json::json!({ "path": "/grüße" }), Some("path")),
            (serde_json::json!({ "path": "/a#b" }), Some("path")),
            (serde_json::json!({ "path": "/gr%C3%BC%C3%9Fe/a" }), None),
            (serde_json::json!({ "methods": [] }), Some("methods")),
            (serde_json::json!({ "methods": ["post"] }), Some("methods.0")),
            (serde_json::json!({ "read_timeout": "0s" }), Some("read_timeout")),
            (serde_json::json!({ "response_timeout": "0s" }), Some("response_timeout")),
            (serde_json::json!({ "max_decompression_ratio": 0 }), Some("max_decompression_ratio")),
            (
                serde_json::json!({ "event": { "preset": "github", "type": "t" } }),
                Some("event.type"),
            ),
            (
                serde_json::json!({ "event": { "type": "{{ data.a | none }}" } }),
                Some("event.type"),
            ),
        ] {
            let mut all = serde_json::json!({ "listen": "127.0.0.1:0" });
            all.as_object_mut()
                .expect("an object")
                .extend(settings.as_object().expect("an object").clone());
            let config: HttpSourceConfig = serde_json::from_value(all).expect("the settings fit");
            let mut problems = Problems::default();
            config.validate(&mut problems);
            let found: Vec<&str> = problems.iter().map(|(path, _)| path).collect();
            assert_eq!(found, path.into_iter().collect::<Vec<_>>(), "{settings}");
        }
    }

    #[test]
    fn the_example_and_the_defaults_hold() {
        let found = contradictions::<HttpSourceConfig>("http-source", Section::Source);
        assert!(found.is_empty(), "{found:#?}");
    }
}
