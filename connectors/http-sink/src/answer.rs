//! What an answer means.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode, header};
use openconnect_core::Failure;

use crate::client::Answer;
use crate::config::{Codes, matches};

/// When an endpoint asks for fewer requests without saying how long.
const THROTTLED: Duration = Duration::from_secs(1);

/// The outcome of an answer.
pub(crate) fn outcome(codes: &Codes, answer: &Answer) -> Result<(), Failure> {
    let status = answer.status;
    let after = retry_after(&answer.headers);
    let good = matches(&codes.success, status.as_u16()) || matches(&codes.accept, status.as_u16());
    if good {
        return Ok(());
    }
    let code = format!("HTTP_{}", status.as_u16());
    // Not the body: an endpoint may echo credentials or the event in it.
    let message = format!("the endpoint answered {status}");
    if !matches(&codes.retry, status.as_u16()) {
        return Err(Failure::permanent(code, message));
    }
    Err(match (status, after) {
        (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, Some(after)) => Failure::throttled(after, code, message),
        (StatusCode::TOO_MANY_REQUESTS, None) => Failure::throttled(THROTTLED, code, message),
        (_, Some(after)) => Failure::retry_after(after, code, message),
        (_, None) => Failure::retryable(code, message),
    })
}

/// `Retry-After` in seconds or as a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    Some((date.with_timezone(&Utc) - Utc::now()).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::HeaderValue;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            retry_after(&headers)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        let date = (Utc::now() + Duration::from_secs(100))
            .format("%a, %d %b %Y %H:%M:%S GMT")
            .to_string();
        let wait = read(&date).unwrap();
        assert!((98..=100).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }
}
