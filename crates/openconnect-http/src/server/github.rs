//! GitHub's deliveries as CloudEvents, named as CloudEvents' GitHub adapter names them.

use http::HeaderMap;
use openconnect_core::cloudevents::{Event, EventBuilder, EventBuilderV10};
use serde::Deserialize;

use super::problem::Problem;

#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    repository: Option<Repository>,
    #[serde(default)]
    organization: Option<Organization>,
    #[serde(default)]
    number: Option<u64>,
    #[serde(default)]
    issue: Option<Numbered>,
    #[serde(default, rename = "ref")]
    git_ref: Option<String>,
}

#[derive(Deserialize)]
struct Repository {
    #[serde(default)]
    full_name: Option<String>,
    #[serde(default)]
    html_url: Option<String>,
}

#[derive(Deserialize)]
struct Organization {
    #[serde(default)]
    login: Option<String>,
}

#[derive(Deserialize)]
struct Numbered {
    #[serde(default)]
    number: Option<u64>,
}

/// The event of one delivery: type `com.github.<event>[.<action>]`, id the delivery's, keyed by repository or organization.
/// `body` is GitHub's payload, and becomes the data unchanged.
///
/// # Errors
///
/// A header of GitHub's is missing, or the body is not a payload: 400.
pub fn event(headers: &HeaderMap, body: &str) -> Result<Event, Problem> {
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .filter(|value| !value.is_empty())
    };
    let kind = header("x-github-event").ok_or_else(|| Problem::malformed("X-GitHub-Event is missing"))?;
    let delivery = header("x-github-delivery").ok_or_else(|| Problem::malformed("X-GitHub-Delivery is missing"))?;
    let payload: Payload = serde_json::from_str(body).map_err(|e| Problem::malformed(format!("the body is no GitHub payload: {e}")))?;
    let ty = match &payload.action {
        Some(action) => format!("com.github.{kind}.{action}"),
        None => format!("com.github.{kind}"),
    };
    let organization = payload.organization.and_then(|organization| organization.login);
    let repository = payload.repository.as_ref();
    let source = repository
        .and_then(|repository| repository.html_url.clone())
        .or_else(|| organization.as_ref().map(|login| format!("https://github.com/{login}")))
        .unwrap_or_else(|| "https://github.com".to_owned());
    let mut builder = EventBuilderV10::new().id(delivery).source(source).ty(ty).time(chrono::Utc::now());
    let number = payload.number.or(payload.issue.and_then(|issue| issue.number));
    if let Some(subject) = number.map(|number| number.to_string()).or(payload.git_ref) {
        builder = builder.subject(subject);
    }
    if let Some(key) = repository.and_then(|repository| repository.full_name.clone()).or(organization) {
        builder = builder.extension("partitionkey", key);
    }
    builder
        .data("application/json", body.to_owned())
        .build()
        .map_err(|e| Problem::malformed(e.to_string()))
}

/// The payload of a delivery that GitHub sends as a form, its default: the field `payload`, which is JSON.
///
/// # Errors
///
/// There is no such field, or it is not JSON: 400.
pub fn form_payload(body: &[u8]) -> Result<String, Problem> {
    let payload = url::form_urlencoded::parse(body).find(|(name, _)| name == "payload");
    let (_, payload) = payload.ok_or_else(|| Problem::malformed("the form has no field `payload`"))?;
    match openconnect_protocol::payload::valid_json(&payload) {
        true => Ok(payload.into_owned()),
        false => Err(Problem::malformed("the field `payload` is not JSON")),
    }
}
