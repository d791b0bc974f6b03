//! A request to CloudEvents: the HTTP protocol binding (binary, structured, batch), ndjson, and bodies that are no events.

use http::{HeaderMap, Method, StatusCode, Uri, header};
use openconnect_core::cloudevents::{Event, EventBuilder, EventBuilderV10};
use openconnect_core::error::Result as CoreResult;
use openconnect_core::template::Template;
use openconnect_http::server::{Problem, github};
use openconnect_protocol::{EventError, json, payload};

use crate::config::{EventMapping, Preset};

/// Events in one request, at the most: each waits for its own confirmation.
const MOST: usize = 10_000;
const DEFAULT_TYPE: &str = "org.apache.eventmesh.http.request";

/// The compiled mapping of bodies that are no events.
pub(crate) struct Decoder {
    preset: Preset,
    id: Option<Template>,
    source: Template,
    ty: Template,
    subject: Option<Template>,
    partitionkey: Option<Template>,
}

/// The parts of a request that become events.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

impl Decoder {
    pub(crate) fn new(mapping: &EventMapping, name: &str) -> CoreResult<Self> {
        let compile = |text: &Option<String>| text.as_deref().map(Template::compile).transpose();
        let source = mapping.source.clone().unwrap_or_else(|| format!("/openconnect/{name}"));
        Ok(Self {
            preset: mapping.preset,
            id: compile(&mapping.id)?,
            source: Template::compile(&source)?,
            ty: Template::compile(mapping.ty.as_deref().unwrap_or(DEFAULT_TYPE))?,
            subject: compile(&mapping.subject)?,
            partitionkey: compile(&mapping.partitionkey)?,
        })
    }

    /// The events of a request; at least one.
    pub(crate) fn decode(&self, request: &Request<'_>) -> Result<Vec<Event>, Problem> {
        let content_type = content_type(request.headers)?;
        let media = content_type.as_deref().map(media_type);
        let events = match media.as_deref() {
            Some("application/cloudevents+json") => vec![json::decode(request.body).map_err(|e| malformed(&e))?],
            Some("application/cloudevents-batch+json") => json::decode_batch(request.body).map_err(|e| malformed(&e))?,
            Some(media) if media.starts_with("application/cloudevents") => {
                return Err(unsupported("CloudEvents are taken in JSON only"));
            }
            _ if request.headers.contains_key("ce-specversion") => vec![binary(request, content_type)?],
            Some("application/x-ndjson" | "application/ndjson" | "application/jsonlines") => self.lines(request)?,
            _ => vec![self.raw(request, request.body, content_type)?],
        };
        match events.len() {
            0 => Err(Problem::malformed("the request has no event")),
            n if n > MOST => Err(Problem::too_large(format!("the request has {n} events, the limit is {MOST}"))),
            _ => Ok(events),
        }
    }

    fn lines(&self, request: &Request<'_>) -> Result<Vec<Event>, Problem> {
        let lines = request
            .body
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty());
        lines
            .take(MOST + 1)
            .map(|line| self.raw(request, line, Some("application/json".to_owned())))
            .collect()
    }

    fn raw(&self, request: &Request<'_>, body: &[u8], content_type: Option<String>) -> Result<Event, Problem> {
        let is_json = content_type.is_some() && payload::is_json(content_type.as_deref());
        if is_json && serde_json::from_slice::<&serde_json::value::RawValue>(body).is_err() {
            return Err(Problem::malformed("the body is not JSON in UTF-8, as its content type says"));
        }
        if payload::is_text(content_type.as_deref()) && !charset_is_other(content_type.as_deref()) && std::str::from_utf8(body).is_err() {
            return Err(Problem::malformed("the body is not text in UTF-8"));
        }
        if self.preset == Preset::Github {
            if !is_json {
                return Err(unsupported("set the webhook's content type to application/json"));
            }
            return github::event(request.headers, &String::from_utf8_lossy(body));
        }
        let variables = Variables {
            request,
            body,
            json: is_json,
        };
        let render = |template: &Template| {
            template
                .render_with(variables.value())
                .map_err(|failure| Problem::malformed(failure.message))
        };
        let id = self
            .id
            .as_ref()
            .map(render)
            .transpose()?
            .unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let mut builder = EventBuilderV10::new()
            .id(id)
            .source(render(&self.source)?)
            .ty(render(&self.ty)?)
            .time(chrono::Utc::now());
        if let Some(subject) = self.subject.as_ref().map(render).transpose()?.filter(|subject| !subject.is_empty()) {
            builder = builder.subject(subject);
        }
        if let Some(key) = self.partitionkey.as_ref().map(render).transpose()? {
            builder = builder.extension("partitionkey", key);
        }
        if let Some(trace) = request.headers.get("traceparent").and_then(|value| value.to_str().ok()) {
            builder = builder.extension("traceparent", trace);
        }
        let mut event = builder.build().map_err(|e| Problem::malformed(e.to_string()))?;
        if !body.is_empty() || content_type.is_some() {
            let content_type = content_type.or_else(|| Some("application/octet-stream".to_owned()));
            payload::set_bytes(&mut event, content_type, body.to_vec());
        }
        Ok(event)
    }
}

fn malformed(error: &EventError) -> Problem {
    Problem::malformed(error.to_string())
}

fn unsupported(detail: &str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "HTTP_MEDIA_TYPE", detail)
}

fn content_type(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| unsupported("the content type can't be read"))?.trim();
    if !text.split(';').next().unwrap_or_default().contains('/') {
        return Err(unsupported("the content type is not of the form type/subtype"));
    }
    Ok(Some(text.to_owned()))
}

fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn charset_is_other(content_type: Option<&str>) -> bool {
    let text = content_type.unwrap_or_default().to_ascii_lowercase();
    text.contains("charset=") && !text.contains("charset=utf-8") && !text.contains("charset=\"utf-8\"")
}

/// Binary mode: attributes in `ce-` headers, percent-encoded; the body is the data.
fn binary(request: &Request<'_>, content_type: Option<String>) -> Result<Event, Problem> {
    let mut attributes = Vec::with_capacity(request.headers.len());
    for (name, value) in request.headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let text = openconnect_protocol::http::decode(value.as_bytes())
            .ok_or_else(|| Problem::malformed(format!("the header ce-{name} is not UTF-8")))?;
        attributes.push((name, text));
    }
    let mut event = openconnect_protocol::http::event(attributes).map_err(|e| malformed(&e))?;
    if payload::is_json(content_type.as_deref()) && content_type.is_some() && !request.body.is_empty() {
        serde_json::from_slice::<&serde_json::value::RawValue>(request.body)
            .map_err(|_| Problem::malformed("the data is not JSON in UTF-8, as its content type says"))?;
    }
    if content_type.is_some() || !request.body.is_empty() {
        payload::set_bytes(&mut event, content_type, request.body.to_vec());
    }
    Ok(event)
}

struct Variables<'a> {
    request: &'a Request<'a>,
    body: &'a [u8],
    json: bool,
}

impl Variables<'_> {
    fn value(&self) -> minijinja::Value {
        let headers: std::collections::BTreeMap<String, String> = self
            .request
            .headers
            .iter()
            .filter(|(name, _)| **name != header::AUTHORIZATION && **name != header::COOKIE)
            .filter_map(|(name, value)| Some((name.as_str().replace('-', "_"), value.to_str().ok()?.to_owned())))
            .collect();
        let query: std::collections::BTreeMap<String, String> =
            url::form_urlencoded::parse(self.request.uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let data = if self.json {
            serde_json::from_slice::<serde_json::Value>(self.body)
                .map(minijinja::Value::from_serialize)
                .unwrap_or_default()
        } else {
            std::str::from_utf8(self.body).map(Into::into).unwrap_or_default()
        };
        minijinja::context! { headers, query, data, path => self.request.uri.path(), method => self.request.method.as_str() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::HeaderValue;
    use openconnect_core::cloudevents::AttributesReader;

    fn decode(mapping: &EventMapping, headers: &[(&'static str, &'static str)], body: &str) -> Result<Vec<Event>, Problem> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let uri = Uri::from_static("/hook?tenant=a");
        let decoder = Decoder::new(mapping, "orders").unwrap();
        decoder.decode(&Request {
            method: &Method::POST,
            uri: &uri,
            headers: &headers,
            body: body.as_bytes(),
        })
    }

    #[test]
    fn binary_mode_decodes_percent_encoding_and_keeps_every_digit() {
        let events = decode(
            &EventMapping::default(),
            &[
                ("ce-specversion", "1.0"),
                ("ce-id", "1"),
                ("ce-source", "/s"),
                ("ce-type", "t"),
                ("ce-mine", "gr%C3%BC%C3%9Fe"),
                ("content-type", "application/json"),
            ],
            "{\"n\":1.10000000000000000001}",
        )
        .unwrap();
        assert_eq!(events[0].extension("mine").unwrap().to_string(), "grüße");
        assert_eq!(payload::json(&events[0]).unwrap(), "{\"n\":1.10000000000000000001}");
    }

    #[test]
    fn a_raw_body_is_mapped_by_templates() {
        let mapping = EventMapping {
            ty: Some("order.{{ data.kind }}".into()),
            partitionkey: Some("{{ query.tenant }}".into()),
            id: Some("{{ headers.x_id }}".into()),
            ..Default::default()
        };
        let headers = [("content-type", "application/json"), ("x-id", "77")];
        let events = decode(&mapping, &headers, "{\"kind\":\"new\"}").unwrap();
        assert_eq!((events[0].id(), events[0].ty()), ("77", "order.new"));
        assert_eq!(events[0].extension("partitionkey").unwrap().to_string(), "a");
        assert_eq!(decode(&mapping, &headers, "{}").unwrap_err().status, 400);
        assert_eq!(decode(&mapping, &headers, "{\"kind\"").unwrap_err().status, 400);
        assert_eq!(decode(&mapping, &[("content-type", "nonsense")], "x").unwrap_err().status, 415);
    }

    #[test]
    fn ndjson_and_batches_give_several_events() {
        let lines = [("content-type", "application/x-ndjson")];
        assert_eq!(
            decode(&EventMapping::default(), &lines, "{\"a\":1}\n\n{\"a\":2}\n").unwrap().len(),
            2
        );
        let batch = [("content-type", "application/cloudevents-batch+json")];
        let one = "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}";
        assert_eq!(
            decode(&EventMapping::default(), &batch, &format!("[{one},{one}]")).unwrap().len(),
            2
        );
        assert_eq!(decode(&EventMapping::default(), &batch, "[]").unwrap_err().status, 400);
    }
}
