//! Errors as `application/problem+json` (RFC 9457).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use openconnect_core::Code;

use crate::codes;

/// Why a request is refused. The text never repeats the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Status of the response.
    pub status: StatusCode,
    code: Code,
    detail: String,
    header: Option<(header::HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem with a status, a stable code, and a text for the sender.
    pub fn new(status: StatusCode, code: Code, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            header: None,
        }
    }

    /// 400: what was sent can't be understood.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, codes::HTTP_MALFORMED, detail)
    }

    /// 413: the request is larger than a limit.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, codes::HTTP_TOO_LARGE, detail)
    }

    /// 503 with `Retry-After`: the same request may be sent again.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, codes::HTTP_UNAVAILABLE, detail).with(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// 401: `scheme` is the challenge, the value of `WWW-Authenticate`.
    pub fn unauthorized(scheme: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, codes::HTTP_UNAUTHORIZED, detail)
            .with(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme))
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The text for the sender.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Adds a header to the response; a problem has one at most.
    pub fn with(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// The response with the problem as its JSON body.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let body = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = self.status;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
