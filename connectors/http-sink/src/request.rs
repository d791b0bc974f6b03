//! Events to requests: modes, URL and headers from templates, compression, signature.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request};
use http_body_util::Full;
use openconnect_core::cloudevents::{AttributesReader, Event};
use openconnect_core::template::Template;
use openconnect_core::{Error, Failure, Result};
use openconnect_format::{Compression, Format};
use openconnect_http::client::Endpoint;
use openconnect_protocol::{http as binding, payload};
use ring::{digest, hmac};

use crate::config::{HttpSinkConfig, Mode};

const MIN_COMPRESSED: usize = 1024;

/// Where a request goes: events with the same target share a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    endpoint: Endpoint,
    headers: Vec<HeaderValue>,
}

/// Makes requests.
pub(crate) struct Requests {
    method: Method,
    mode: Mode,
    url: Template,
    headers: Vec<(HeaderName, Template)>,
    /// The target of all events, where nothing of it depends on them.
    fixed: Option<Target>,
    compression: Compression,
    min_bytes: usize,
    signature: Option<(hmac::Key, HeaderName, String)>,
    idempotency: Option<HeaderName>,
}

fn header_name(name: &str) -> Result<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| Error::config("HTTP_CONFIG", format!("`{name}` is no header name")))
}

impl Requests {
    pub(crate) fn new(config: &HttpSinkConfig) -> Result<Self> {
        let headers = config
            .headers
            .iter()
            .map(|(name, value)| Ok((header_name(name)?, Template::compile(value)?)));
        let signature = match &config.signature {
            Some(s) => Some((
                hmac::Key::new(hmac::HMAC_SHA256, s.secret.expose().as_bytes()),
                header_name(&s.header)?,
                s.prefix.clone(),
            )),
            None => None,
        };
        let (url, headers) = (Template::compile(&config.url)?, headers.collect::<Result<Vec<_>>>()?);
        let is_fixed = url.is_constant() && headers.iter().all(|(_, template)| template.is_constant());
        let fixed = is_fixed.then(|| render(&url, &headers, &Event::default())).transpose();
        Ok(Self {
            method: Method::from_bytes(config.method.as_bytes())
                .map_err(|_| Error::config("HTTP_CONFIG", "sink.method is no HTTP method"))?,
            mode: config.mode,
            fixed: fixed.map_err(|failure| Error::config("HTTP_CONFIG", failure.to_string()))?,
            url,
            headers,
            compression: config.compression.encoding,
            min_bytes: config.compression.min_bytes.map_or(MIN_COMPRESSED, |size| size.as_usize()),
            signature,
            idempotency: config.idempotency_header.as_deref().map(header_name).transpose()?,
        })
    }

    /// Is the target the same for every event?
    pub(crate) fn one_target(&self) -> bool {
        self.fixed.is_some()
    }

    /// Does a request hold several events?
    pub(crate) fn is_batched(&self) -> bool {
        self.mode.is_batched()
    }

    pub(crate) fn target(&self, event: &Event) -> Result<Cow<'_, Target>, Failure> {
        match &self.fixed {
            Some(target) => Ok(Cow::Borrowed(target)),
            None => render(&self.url, &self.headers, event).map(Cow::Owned),
        }
    }

    /// The request for events of one target, without the credentials of `sink.auth`.
    pub(crate) fn prepare(&self, target: &Target, events: &[&Event]) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = target.endpoint.request(self.method.clone(), Vec::new());
        let headers = request.headers_mut();
        let mut body = self.body(events, headers)?;
        for ((name, _), value) in self.headers.iter().zip(&target.headers) {
            headers.insert(name.clone(), value.clone());
        }
        if let Some(name) = &self.idempotency {
            headers.insert(name.clone(), value_of(name.as_str(), &idempotency_key(events))?);
        }
        if body.len() >= self.min_bytes {
            body = self.compress(body, headers)?;
        }
        if let Some((key, name, prefix)) = &self.signature {
            let signature = format!("{prefix}{}", hex::encode(hmac::sign(key, &body)));
            headers.insert(name.clone(), value_of(name.as_str(), &signature)?);
        }
        *request.body_mut() = Full::from(body);
        Ok(request)
    }

    fn body(&self, events: &[&Event], headers: &mut HeaderMap) -> Result<Vec<u8>, Failure> {
        let format = match self.mode {
            Mode::Binary => {
                let Some(event) = events.first() else { return Ok(Vec::new()) };
                for (name, value) in binding::binary_headers(event) {
                    let header = HeaderName::from_bytes(name.as_bytes())
                        .map_err(|_| Failure::permanent("HTTP_HEADER", format!("`{name}` can't be a header")))?;
                    headers.insert(header, value_of(&name, &value)?);
                }
                if let Some(content_type) = event.datacontenttype() {
                    headers.insert(CONTENT_TYPE, value_of("content-type", content_type)?);
                }
                return Ok(payload::bytes(event).map(|data| data.into_owned()).unwrap_or_default());
            }
            Mode::Structured => Format::EVENT,
            Mode::Batch => Format::EVENT_BATCH,
            Mode::Ndjson => Format::EVENT_LINES,
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
        format
            .encode(events.iter().copied())
            .map_err(|error| Failure::permanent("HTTP_FORMAT", error.to_string()))
    }

    fn compress(&self, body: Vec<u8>, headers: &mut HeaderMap) -> Result<Vec<u8>, Failure> {
        if let Some(name) = self.compression.content_encoding() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        self.compression
            .compress(body)
            .map_err(|e| Failure::retryable("HTTP_COMPRESSION", format!("the body can't be compressed: {e}")))
    }
}

fn render(url: &Template, headers: &[(HeaderName, Template)], event: &Event) -> Result<Target, Failure> {
    let endpoint =
        Endpoint::parse(&url.render(event)?).map_err(|reason| Failure::permanent("HTTP_URL", format!("the rendered URL {reason}")))?;
    let headers = headers
        .iter()
        .map(|(name, template)| value_of(name.as_str(), &template.render(event)?));
    Ok(Target {
        endpoint,
        headers: headers.collect::<Result<_, _>>()?,
    })
}

fn value_of(name: &str, value: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(value).map_err(|_| {
        Failure::permanent(
            "HTTP_HEADER",
            format!("the value for the header `{name}` has characters that no header may have"),
        )
    })
}

/// The same for every repeat of the same events.
fn idempotency_key(events: &[&Event]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for event in events {
        for part in [event.source().as_str(), event.id()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
    }
    hex::encode(context.finish())
}
