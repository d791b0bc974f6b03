//! The `sink:` section of the HTTP sink.

use std::collections::BTreeMap;

use openconnect_core::bytes_size::ByteSize;
use openconnect_core::config::Import;
use openconnect_core::config::{ConnectorConfig, NO_EFFECT, Problems};
use openconnect_core::duration::HumanDuration;
use openconnect_core::secret::Secret;
use openconnect_core::template::Template;
use openconnect_core::tls::TlsSettings;
use openconnect_format::Compression;
use openconnect_http::client::{Auth, Codes, Endpoint, Proxy, UrlTemplate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::import;

// What a change does to events, where several settings say the same.
const OTHER_REQUESTS: &str = "requests look different from the restart on; nothing is repeated or left out";

/// Where events go and how.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSinkConfig {
    /// The endpoint, optionally as a template: `https://example.com/in/{{ type }}`. Values are percent-encoded; scheme, host and a `/` stand
    /// before the first expression.
    #[schemars(
        example = &"https://example.com/events",
        extend(
            "x-effect" = "events that are not delivered yet go to the new endpoint; what the old one has it keeps"
        )
    )]
    pub url: String,
    /// The method of requests.
    #[serde(default = "default_method")]
    #[schemars(extend("x-effect" = OTHER_REQUESTS))]
    pub method: String,
    /// How events become requests.
    #[serde(default)]
    #[schemars(extend("x-effect" = OTHER_REQUESTS))]
    pub mode: Mode,
    /// More headers; values are templates.
    #[serde(default)]
    #[schemars(extend("x-effect" = OTHER_REQUESTS))]
    pub headers: BTreeMap<String, String>,
    /// How the sink shows who it is.
    #[serde(default)]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub auth: Auth,
    /// Signs every body.
    #[schemars(extend("x-effect" = OTHER_REQUESTS))]
    pub signature: Option<Signature>,
    /// Header that gets a key which is the same for every repeat of the same events, e.g. `Idempotency-Key`.
    #[schemars(
        example = &"Idempotency-Key",
        extend(
            "x-effect" = "how the endpoint recognises a repeat: an event that is delivered again across the change may be taken twice"
        )
    )]
    pub idempotency_header: Option<String>,
    /// Does the endpoint drop repeats (by `ce-id` and `ce-source`, or by the idempotency header)? The guarantee is then
    /// effectively-once.
    #[serde(default)]
    #[schemars(extend("x-effect" = "changes the guarantee that is computed, not what is sent"))]
    pub idempotent: bool,
    /// Compression of bodies.
    #[serde(default)]
    #[schemars(extend("x-effect" = OTHER_REQUESTS))]
    pub compression: BodyCompression,
    /// Which answers mean what.
    #[serde(default)]
    #[schemars(extend("x-effect" = "decides what becomes a dead letter: a refusal that was retried before may not be any more"))]
    pub codes: Codes,
    /// How long one request may take.
    #[serde(default = "default_timeout")]
    #[schemars(extend("x-effect" = "shorter: a request that takes longer is sent again, though the endpoint may have taken it"))]
    pub timeout: HumanDuration,
    /// TLS; with `cert_file` and `key_file` the sink shows a certificate.
    #[serde(default)]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub tls: TlsSettings,
    /// HTTP proxy for every request: `http://[user:password@]host[:port]`. An `https` endpoint is reached through a tunnel. Absent: the proxy of
    /// the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), if there is one, except for this machine itself.
    #[schemars(example = &"http://proxy.example.com:3128", extend("x-effect" = NO_EFFECT))]
    pub proxy: Option<Secret>,
    /// URL asked with GET by `check --connect`. Absent: the endpoint is asked.
    #[schemars(example = &"https://example.com/health", extend("x-effect" = NO_EFFECT))]
    pub health_url: Option<String>,
}

fn default_method() -> String {
    "POST".into()
}

fn default_timeout() -> HumanDuration {
    HumanDuration::seconds(30)
}

/// How events become requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One event a request; attributes in `ce-` headers, the data as the body.
    #[default]
    Binary,
    /// One event a request, `application/cloudevents+json`.
    Structured,
    /// Many events a request, `application/cloudevents-batch+json`.
    Batch,
    /// Many events a request, one JSON event a line.
    Ndjson,
}

impl Mode {
    /// Does a request hold several events?
    pub(crate) fn is_batched(self) -> bool {
        matches!(self, Self::Batch | Self::Ndjson)
    }
}

/// A keyed hash (HMAC-SHA256) of every body, as it is sent.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The key.
    pub secret: Secret,
    /// The header that gets the hash.
    #[serde(default = "default_signature_header")]
    pub header: String,
    /// What stands before the hexadecimal hash.
    #[serde(default = "default_signature_prefix")]
    pub prefix: String,
}

fn default_signature_header() -> String {
    "X-Hub-Signature-256".into()
}

fn default_signature_prefix() -> String {
    "sha256=".into()
}

/// Compression of bodies.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BodyCompression {
    /// The encoding.
    pub encoding: Compression,
    /// Bodies below this size are sent as they are.
    pub min_bytes: ByteSize,
}

impl Default for BodyCompression {
    fn default() -> Self {
        Self {
            encoding: Compression::default(),
            min_bytes: ByteSize(1 << 10),
        }
    }
}

impl ConnectorConfig for HttpSinkConfig {
    fn import(import: &mut Import) {
        import::import(import);
    }

    fn validate(&self, problems: &mut Problems) {
        if let Err(reason) = UrlTemplate::compile(&self.url) {
            problems.add("url", reason);
        }
        if http::Method::from_bytes(self.method.as_bytes()).is_err() || self.method.to_uppercase() != self.method {
            problems.add("method", "is no HTTP method in capital letters");
        }
        for (name, value) in &self.headers {
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                problems.add(format!("headers.{name}"), "is no header name");
            }
            if let Err(error) = Template::compile(value) {
                problems.add(format!("headers.{name}"), error.reason());
            }
            if name.eq_ignore_ascii_case("authorization") && !matches!(self.auth, Auth::None) {
                problems.add(format!("headers.{name}"), "`auth` sets this header; keep one of the two");
            }
        }
        if self.tls.server_name.is_some() {
            problems.add("tls.server_name", "this sink verifies the name in the URL; leave it out");
        }
        if self.idempotent && self.idempotency_header.is_some() && self.mode.is_batched() {
            problems.add(
                "idempotency_header",
                "has a key of the whole batch in this mode, and batches are put together anew after a crash: the endpoint would not know a repeat by it. Leave it \
                 out if the endpoint knows each event by its id, or set mode to binary or structured",
            );
        }
        let names = [
            ("signature.header", self.signature.as_ref().map(|s| &s.header)),
            ("idempotency_header", self.idempotency_header.as_ref()),
        ];
        for (path, name) in names {
            if name.is_some_and(|name| http::HeaderName::from_bytes(name.as_bytes()).is_err()) {
                problems.add(path, "is no header name");
            }
        }
        if let Some(Err(reason)) = self.auth.token_url().map(Endpoint::parse) {
            problems.add("auth.token_url", reason);
        }
        for (path, wrong) in self.codes.mistakes() {
            problems.add(format!("codes.{path}"), wrong);
        }
        let authority = self
            .url
            .split_once("://")
            .map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
        if authority.contains('@') && !matches!(self.auth, Auth::None) {
            problems.add("url", "has a user beside `auth`; keep one of the two");
        }
        if let Err(wrong) = Proxy::new(self.proxy.as_ref()) {
            problems.add("proxy", wrong);
        }
        if self.timeout.0.is_zero() {
            problems.add("timeout", "must be more than 0");
        }
    }
}

#[cfg(test)]
mod tests {
    use openconnect_core::config::{Section, contradictions};

    use super::*;

    /// A batch is put together anew after a crash, so that a key of the batch tells nobody of a repeat.
    #[test]
    fn a_key_of_a_batch_is_not_effectively_once() {
        for (mode, idempotent, refused) in [
            ("batch", true, true),
            ("ndjson", true, true),
            ("batch", false, false),
            ("binary", true, false),
            ("structured", true, false),
        ] {
            let settings = serde_json::json!({
                "url": "http://127.0.0.1:1/", "mode": mode, "idempotent": idempotent, "idempotency_header": "Idempotency-Key",
            });
            let config: HttpSinkConfig = serde_json::from_value(settings).expect("the settings fit");
            let mut problems = Problems::default();
            config.validate(&mut problems);
            assert_eq!(problems.iter().next().is_some(), refused, "{mode} {idempotent}");
        }
    }

    #[test]
    fn what_would_be_ignored_or_never_fit_is_refused() {
        for (settings, path) in [
            (serde_json::json!({ "method": "post" }), Some("method")),
            (serde_json::json!({ "timeout": "0s" }), Some("timeout")),
            (serde_json::json!({ "proxy": "socks5://proxy" }), Some("proxy")),
            (serde_json::json!({ "codes": { "success": [] } }), Some("codes.success")),
            (serde_json::json!({ "codes": { "success": ["2xx", "429"] } }), Some("codes.retry.4")),
            (
                serde_json::json!({ "codes": { "success": ["2xx", "429"], "retry": ["5xx"] } }),
                None,
            ),
            (serde_json::json!({ "codes": { "accept": ["4x"] } }), Some("codes.accept.0")),
            (
                serde_json::json!({ "url": "http://u:p@127.0.0.1:1/", "auth": { "type": "bearer", "token": "t" } }),
                Some("url"),
            ),
            (serde_json::json!({ "url": "http://u:p@127.0.0.1:1/" }), None),
            (serde_json::json!({ "headers": { "X": "{{ now() }}" } }), Some("headers.X")),
        ] {
            let mut all = serde_json::json!({ "url": "http://127.0.0.1:1/" });
            all.as_object_mut()
                .expect("an object")
                .extend(settings.as_object().expect("an object").clone());
            let config: HttpSinkConfig = serde_json::from_value(all).expect("the settings fit");
            let mut problems = Problems::default();
            config.validate(&mut problems);
            let found: Vec<&str> = problems.iter().map(|(path, _)| path).collect();
            assert_eq!(found, path.into_iter().collect::<Vec<_>>(), "{settings}");
        }
    }

    #[test]
    fn the_example_and_the_defaults_hold() {
        let found = contradictions::<HttpSinkConfig>("http-sink", Section::Sink);
        assert!(found.is_empty(), "{found:#?}");
    }
}
