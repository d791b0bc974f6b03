//! What the status of a response means.

use std::time::Duration;

use http::StatusCode;
use openconnect_core::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::retry_after::retry_after;
use super::transport::Response;
use crate::codes::HTTP_STATUS;

/// The wait after a 429 without `Retry-After`.
const DEFAULT_THROTTLE: Duration = Duration::from_secs(1);

/// Which answers mean what; a code in no list is a dead letter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Codes {
    /// Delivered.
    pub success: Vec<String>,
    /// Tried again. With revoked credentials the sink waits rather than fill the dead letters.
    pub retry: Vec<String>,
    /// Counted as delivered although refused, for instance 409 of an endpoint that has the event.
    pub accept: Vec<String>,
}

impl Default for Codes {
    fn default() -> Self {
        let list = |codes: &[&str]| codes.iter().map(|&code| code.to_owned()).collect();
        Self {
            success: list(&["2xx"]),
            retry: list(&["401", "403", "408", "425", "429", "5xx"]),
            accept: Vec::new(),
        }
    }
}

impl Codes {
    /// The outcome of a request.
    ///
    /// # Errors
    ///
    /// The status is in neither `success` nor `accept`: retryable when it is in `retry`, else permanent. The code is `HTTP_<status>`.
    /// The text leaves out the body, in which an endpoint may repeat credentials or the event.
    pub fn outcome(&self, response: &Response) -> Result<(), Failure> {
        let status = response.status;
        if matches(&self.success, status.as_u16()) || matches(&self.accept, status.as_u16()) {
            return Ok(());
        }
        let code = HTTP_STATUS.code(status.as_u16());
        let message = format!("the endpoint answered {status}");
        if !matches(&self.retry, status.as_u16()) {
            return Err(Failure::permanent(code, message));
        }
        Err(match (status, retry_after(&response.headers)) {
            (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, Some(after)) => Failure::throttled(after, code, message),
            (StatusCode::TOO_MANY_REQUESTS, None) => Failure::throttled(DEFAULT_THROTTLE, code, message),
            (_, Some(after)) => Failure::retry_after(after, code, message),
            (_, None) => Failure::retryable(code, message),
        })
    }

    /// What is wrong, each with its path below the section: no code succeeds, a pattern that is neither a code nor a class such as `5xx`,
    /// or a pattern that is in two lists.
    pub fn mistakes(&self) -> Vec<(String, &'static str)> {
        let lists = [("success", &self.success), ("retry", &self.retry), ("accept", &self.accept)];
        let mut mistakes = Vec::new();
        if self.success.is_empty() {
            mistakes.push(("success".to_owned(), "is empty: no answer would count as a success"));
        }
        for (place, (list, codes)) in lists.iter().enumerate() {
            for (at, code) in codes.iter().enumerate() {
                let path = || format!("{list}.{at}");
                if !is_pattern(code) {
                    mistakes.push((path(), "is no code; write for instance 404 or 5xx"));
                } else if lists[..place].iter().any(|(_, before)| before.contains(code)) {
                    mistakes.push((path(), "is in two lists: an answer has one meaning"));
                }
            }
        }
        mistakes
    }
}

/// Does a code match `404` or `4xx`?
fn matches(patterns: &[String], code: u16) -> bool {
    let code = code.to_string();
    patterns
        .iter()
        .any(|pattern| *pattern == code || pattern.strip_suffix("xx").is_some_and(|class| code.starts_with(class)))
}

fn is_pattern(text: &str) -> bool {
    let digits = text.strip_suffix("xx").unwrap_or(text);
    (digits.len() == 1 && text.len() == 3 || digits.len() == 3) && digits.bytes().all(|b| b.is_ascii_digit())
}
