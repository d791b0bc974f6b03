//! The variables of the templates in `source.event`.

use http::header;
use openconnect_core::template::Variables;
use url::form_urlencoded;

use crate::request::Request;

/// What the data of an event is, for templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataKind {
    Json,
    /// `application/x-www-form-urlencoded`: its fields by their names.
    Form,
    Other,
}

/// What a template can use of a request and of the data of one of its events. Credentials are not among the headers.
pub(crate) fn variables(request: &Request<'_>, body: &[u8], kind: DataKind) -> Variables {
    let headers = request
        .headers
        .iter()
        .filter(|(name, _)| **name != header::AUTHORIZATION && **name != header::COOKIE)
        .filter_map(|(name, value)| Some((name.as_str().replace('-', "_"), value.to_str().ok()?)));
    let query = form_urlencoded::parse(request.uri.query().unwrap_or_default().as_bytes());
    let variables = Variables::default()
        .with_texts("headers", headers)
        .with_texts("query", query)
        .with_text("path", request.uri.path())
        .with_text("method", request.method.as_str());
    match (kind, std::str::from_utf8(body)) {
        (DataKind::Form, _) => variables.with_texts("data", form_urlencoded::parse(body)),
        (DataKind::Json, Ok(json)) => variables.with_json("data", json),
        (DataKind::Other, Ok(text)) => variables.with_text("data", text),
        (DataKind::Json | DataKind::Other, Err(_)) => variables,
    }
}
