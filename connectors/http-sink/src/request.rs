//! Events to requests: modes, URL and headers from templates, compression, signature.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request};
use http_body_util::Full;
use openconnect_core::cloudevents::{AttributesReader, Event};
use openconnect_core::sink::Target;
use openconnect_core::template::Template;
use openconnect_core::{Error, Failure, Result};
use openconnect_format::{Compression, Format};
use openconnect_http::client::{Endpoint, UrlTemplate};
use openconnect_http::codes::{HTTP_CONFIG, HTTP_URL};
use openconnect_protocol::{http as binding, payload};
use ring::{digest, hmac};

use crate::codes;
use crate::config::{HttpSinkConfig, Mode};

/// Where a request goes: the URL and the values of the configured headers.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    endpoint: Endpoint,
    headers: Vec<HeaderValue>,
}

/// Makes requests.
pub(crate) struct Requests {
    method: Method,
    mode: Mode,
    url: UrlTemplate,
    headers: Vec<(HeaderName, Template)>,
    /// The destination of all events, where nothing of it depends on them.
    fixed: Option<Destination>,
    compression: Compression,
    min_bytes: usize,
    signature: Option<(hmac::Key, HeaderName, String)>,
    idempotency: Option<HeaderName>,
}

fn header_name(name: &str) -> Result<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| Error::config(HTTP_CONFIG, format!("`{name}` is no header name")))
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
        let (url, headers) = (compile_url(&config.url)?, headers.collect::<Result<Vec<_>>>()?);
        let is_fixed = url.is_constant() && headers.iter().all(|(_, template)| template.is_constant());
        let fixed = is_fixed
            .then(|| parse(&headers, &render(&url, &headers, &Event::default())?))
            .transpose();
        Ok(Self {
            method: Method::from_bytes(config.method.as_bytes())
                .map_err(|_| Error::config(HTTP_CONFIG, "sink.method is no HTTP method"))?,
            mode: config.mode,
            fixed: fixed.map_err(|failure| Error::config(HTTP_CONFIG, "sink.url and sink.headers can't be used").because(failure))?,
            url,
            headers,
            compression: config.compression.encoding,
            min_bytes: config.compression.min_bytes.as_usize(),
            signature,
            idempotency: config.idempotency_header.as_deref().map(header_name).transpose()?,
        })
    }

    /// Is the destination the same for every event?
    pub(crate) fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    /// Events with equal targets may share a request.
    pub(crate) fn target(&self, event: &Event) -> Result<Target, Failure> {
        match &self.fixed {
            Some(_) => Ok(Target::ONE),
            None => render(&self.url, &self.headers, event).map(Target::new),
        }
    }

    /// Where the requests of a target go.
    pub(crate) fn destination(&self, target: &Target) -> Result<Cow<'_, Destination>, Failure> {
        match &self.fixed {
            Some(destination) => Ok(Cow::Borrowed(destination)),
            None => parse(&self.headers, target.as_str()).map(Cow::Owned),
        }
    }

    /// The request that carries these events, without the credentials of `sink.auth`.
    pub(crate) fn prepare(&self, destination: &Destination, events: &[&Event]) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = destination.endpoint.request(self.method.clone(), Vec::new());
        let headers = request.headers_mut();
        let mut body = self.body(events, headers)?;
        for ((name, _), value) in self.headers.iter().zip(&destination.headers) {
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
                        .map_err(|_| Failure::permanent(codes::HTTP_HEADER, format!("`{name}` can't be a header")))?;
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
            .map_err(|error| Failure::permanent(codes::HTTP_FORMAT, "the events can't be encoded").because(error))
    }

    fn compress(&self, body: Vec<u8>, headers: &mut HeaderMap) -> Result<Vec<u8>, Failure> {
        if let Some(name) = self.compression.content_encoding() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        self.compression
            .compress(body)
            .map_err(|e| Failure::retryable(codes::HTTP_COMPRESSION, "the body can't be compressed").because(e))
    }
}

fn compile_url(text: &str) -> Result<UrlTemplate> {
    UrlTemplate::compile(text).map_err(|reason| Error::config(HTTP_CONFIG, format!("sink.url {reason}")))
}

/// A target's text: the headers' values, each with a line feed, which no value may hold, and the URL.
fn render(url: &UrlTemplate, headers: &[(HeaderName, Template)], event: &Event) -> Result<String, Failure> {
    let mut text = String::new();
    for (name, template) in headers {
        let value = template.render(event)?;
        value_of(name.as_str(), &value)?;
        text.push_str(&value);
        text.push('\n');
    }
    text.push_str(&url.render(event)?);
    Ok(text)
}

/// The reverse of [`render`].
fn parse(headers: &[(HeaderName, Template)], target: &str) -> Result<Destination, Failure> {
    let mut lines = target.splitn(headers.len() + 1, '\n');
    let values = headers
        .iter()
        .zip(lines.by_ref())
        .map(|((name, _), value)| value_of(name.as_str(), value));
    let values = values.collect::<Result<_, _>>()?;
    let url = lines.next().unwrap_or_default();
    let endpoint = Endpoint::parse(url).map_err(|reason| Failure::permanent(HTTP_URL, format!("the rendered URL {reason}")))?;
    Ok(Destination { endpoint, headers: values })
}

fn value_of(name: &str, value: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(value).map_err(|_| {
        Failure::permanent(
            codes::HTTP_HEADER,
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
