//! A request to CloudEvents: the HTTP protocol binding (binary, structured, batch), ndjson, and bodies that are no events.

use http::{HeaderMap, HeaderName, StatusCode, header};
use openconnect_core::cloudevents::{Event, EventBuilder, EventBuilderV10};
use openconnect_core::error::Result as CoreResult;
use openconnect_core::template::Template;
use openconnect_format::{Codec, Format, FormatError, Framing, Limits, Record};
use openconnect_http::server::{Problem, github};
use openconnect_protocol::payload;

use crate::codes;
use crate::config::{EventMapping, Preset};
use crate::request::Request;
use crate::variables::{DataKind, variables};

/// Most events of one request: each waits for its own confirmation.
const LIMITS: Limits = Limits { records: 10_000 };
const DEFAULT_TYPE: &str = "eventmesh.openconnect.http.request";
const FORM: &str = "application/x-www-form-urlencoded";

/// The compiled mapping of bodies that are no events.
pub(crate) struct Decoder {
    preset: Preset,
    id: Option<Template>,
    source: Template,
    ty: Template,
    subject: Option<Template>,
    partitionkey: Option<Template>,
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
        check_repeats(request.headers)?;
        let content_type = content_type(request.headers)?;
        let media = content_type.as_deref().map(media_type);
        let events = match media.as_deref() {
            Some("application/cloudevents+json") => events(Format::EVENT, request.body)?,
            Some("application/cloudevents-batch+json") => events(Format::EVENT_BATCH, request.body)?,
            Some(media) if media.starts_with("application/cloudevents") => {
                return Err(unsupported("CloudEvents are taken in JSON only"));
            }
            _ if is_binary(request.headers) => vec![binary(request, content_type)?],
            Some("application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/jsonlines") => self.lines(request)?,
            _ => vec![self.single(request, content_type)?],
        };
        match events.is_empty() {
            true => Err(Problem::malformed("the request has no event")),
            false => Ok(events),
        }
    }

    fn lines(&self, request: &Request<'_>) -> Result<Vec<Event>, Problem> {
        let records = Format::JSON_LINES.decode(request.body, &LIMITS).map_err(problem)?;
        let lines = records.iter().filter_map(|record| match record {
            Record::Data(line) => Some(*line),
            Record::Event(_) => None,
        });
        lines
            .map(|line| self.map(request, line, Some("application/json".to_owned())))
            .collect()
    }

    fn single(&self, request: &Request<'_>, content_type: Option<String>) -> Result<Event, Problem> {
        check_data(request.body, content_type.as_deref())?;
        if self.preset == Preset::Github && content_type.as_deref().map(media_type).as_deref() == Some(FORM) {
            let payload = github::form_payload(request.body)?;
            return self.map(request, payload.as_bytes(), Some("application/json".to_owned()));
        }
        self.map(request, request.body, content_type)
    }

    /// The event of data that has been checked to be of its content type.
    fn map(&self, request: &Request<'_>, body: &[u8], content_type: Option<String>) -> Result<Event, Problem> {
        let is_json = content_type.is_some() && payload::is_json(content_type.as_deref());
        if self.preset == Preset::Github {
            if !is_json {
                return Err(unsupported("GitHub sends application/json or application/x-www-form-urlencoded"));
            }
            return github::event(request.headers, &String::from_utf8_lossy(body));
        }
        let is_form = content_type.as_deref().map(media_type).as_deref() == Some(FORM);
        let kind = match (is_json, is_form) {
            (true, _) => DataKind::Json,
            (false, true) => DataKind::Form,
            (false, false) => DataKind::Other,
        };
        let variables = variables(request, body, kind);
        let render = |template: &Template| {
            template
                .render_with(&variables)
                .map_err(|failure| Problem::malformed(failure.reason()))
        };
        let id = self
            .id
            .as_ref()
            .map(render)
            .transpose()?
            .unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let (source, ty) = (render(&self.source)?, render(&self.ty)?);
        for (name, value) in [("id", &id), ("source", &source), ("type", &ty)] {
            if value.is_empty() {
                return Err(Problem::malformed(format!(
                    "the attribute `{name}` is empty: its template renders to nothing"
                )));
            }
        }
        let mut builder = EventBuilderV10::new().id(id).source(source).ty(ty).time(chrono::Utc::now());
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

fn problem(error: FormatError) -> Problem {
    match error {
        FormatError::TooMany { .. } => Problem::too_large(error.to_string()),
        _ => Problem::malformed(error.to_string()),
    }
}

fn events(format: Format, body: &[u8]) -> Result<Vec<Event>, Problem> {
    let records = format.decode(body, &LIMITS).map_err(problem)?;
    let events = records.into_iter().filter_map(|record| match record {
        Record::Event(event) => Some(*event),
        Record::Data(_) => None,
    });
    Ok(events.collect())
}

/// Is the data what its content type says? What is neither JSON nor text in UTF-8 is not looked at.
fn check_data(data: &[u8], content_type: Option<&str>) -> Result<(), Problem> {
    let codec = match content_type {
        None => return Ok(()),
        Some(_) if payload::is_json(content_type) => Codec::Json,
        Some(_) if payload::is_text(content_type) && !charset_is_other(content_type) => Codec::Text,
        Some(_) => return Ok(()),
    };
    let format = Format::new(codec, Framing::Single).map_err(problem)?;
    format.decode(data, &LIMITS).map_err(problem).map(drop)
}

fn unsupported(detail: &str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, codes::HTTP_MEDIA_TYPE, detail)
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

/// Is the request meant as a CloudEvent in binary mode? One without `ce-specversion` is refused rather than taken as a body without
/// attributes: its sender would lose its `id`, and with it the recognition of repeats.
fn is_binary(headers: &HeaderMap) -> bool {
    ["ce-specversion", "ce-id", "ce-source", "ce-type"]
        .into_iter()
        .any(|name| headers.contains_key(name))
}

/// Refuses a header of an event that is there more than once: which of them is meant?
fn check_repeats(headers: &HeaderMap) -> Result<(), Problem> {
    let matters = |name: &HeaderName| *name == header::CONTENT_TYPE || name.as_str().starts_with("ce-");
    match headers
        .keys()
        .find(|name| matters(name) && headers.get_all(*name).iter().count() > 1)
    {
        Some(name) => Err(Problem::malformed(format!("the header {name} is there more than once"))),
        None => Ok(()),
    }
}

/// Binary mode: attributes in `ce-` headers, percent-encoded; the body is the data.
fn binary(request: &Request<'_>, content_type: Option<String>) -> Result<Event, Problem> {
    if !request.headers.contains_key("ce-specversion") {
        return Err(Problem::malformed(
            "the attribute `specversion` is missing: send the header ce-specversion",
        ));
    }
    let mut attributes = Vec::with_capacity(request.headers.len());
    for (name, value) in request.headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let text = openconnect_protocol::http::decode(value.as_bytes())
            .ok_or_else(|| Problem::malformed(format!("the header ce-{name} is not UTF-8")))?;
        attributes.push((name, text));
    }
    let mut event = openconnect_protocol::http::event(attributes).map_err(|e| Problem::malformed(e.to_string()))?;
    if payload::is_json(content_type.as_deref()) && !request.body.is_empty() {
        check_data(request.body, content_type.as_deref())?;
    }
    if content_type.is_some() || !request.body.is_empty() {
        payload::set_bytes(&mut event, content_type, request.body.to_vec());
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::{HeaderValue, Method, Uri};
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
        let without_id = [("content-type", "application/json"), ("x-id", "")];
        assert_eq!(decode(&mapping, &without_id, "{\"kind\":\"new\"}").unwrap_err().status, 400);
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

    #[test]
    fn a_cloudevent_without_its_specversion_is_refused() {
        let headers = [
            ("ce-id", "1"),
            ("ce-source", "/s"),
            ("ce-type", "t"),
            ("content-type", "application/json"),
        ];
        assert_eq!(decode(&EventMapping::default(), &headers, "{}").unwrap_err().status, 400);
    }

    /// Of two values none is chosen in silence.
    #[test]
    fn what_is_there_twice_is_refused() {
        let once = [
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-source", "/s"),
            ("ce-type", "t"),
            ("content-type", "text/plain"),
        ];
        assert!(decode(&EventMapping::default(), &once, "x").is_ok());
        for twice in [("ce-id", "1"), ("ce-mine", "a"), ("content-type", "text/plain")] {
            let headers: Vec<_> = once.into_iter().chain([("ce-mine", "a"), twice]).collect();
            let problem = decode(&EventMapping::default(), &headers, "x").unwrap_err();
            assert_eq!(problem.status, 400);
            assert!(problem.detail().contains(twice.0), "{}", problem.detail());
        }
        let both = "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"data\":1,\"data_base64\":\"MQ==\"}";
        let headers = [("content-type", "application/cloudevents+json")];
        assert_eq!(decode(&EventMapping::default(), &headers, both).unwrap_err().status, 400);
    }

    #[test]
    fn github_is_taken_in_both_of_its_content_types() {
        let mapping = EventMapping {
            preset: Preset::Github,
            ..Default::default()
        };
        let with = |content_type| {
            [
                ("x-github-event", "push"),
                ("x-github-delivery", "d-1"),
                ("content-type", content_type),
            ]
        };
        let json = "{\"ref\":\"a b\"}";
        let plain = decode(&mapping, &with("application/json"), json).unwrap();
        let form = decode(&mapping, &with(FORM), "payload=%7B%22ref%22%3A%22a+b%22%7D").unwrap();
        for events in [&plain, &form] {
            assert_eq!((events[0].ty(), events[0].subject()), ("com.github.push", Some("a b")));
            assert_eq!(payload::json(&events[0]).unwrap(), json);
        }
        assert_eq!(decode(&mapping, &with(FORM), "other=1").unwrap_err().status, 400);
        assert_eq!(decode(&mapping, &with(FORM), "payload=%7B").unwrap_err().status, 400);
    }

    #[test]
    fn the_fields_of_a_form_are_there_for_templates() {
        let mapping = EventMapping {
            ty: Some("slack.{{ data.command }}".into()),
            partitionkey: Some("{{ data.team_id }}".into()),
            ..Default::default()
        };
        let body = "team_id=T1&command=%2Fweather";
        let events = decode(&mapping, &[("content-type", FORM)], body).unwrap();
        assert_eq!(events[0].ty(), "slack./weather");
        assert_eq!(events[0].extension("partitionkey").unwrap().to_string(), "T1");
        assert_eq!(payload::bytes(&events[0]).unwrap(), body.as_bytes());
    }
}
