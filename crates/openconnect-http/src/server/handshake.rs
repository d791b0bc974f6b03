//! What senders ask before their first event.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::Full;
use serde::Deserialize;

/// The consent to a CloudEvents sender that asks, with OPTIONS and `WebHook-Request-Origin`, whether it may send here (HTTP 1.1 Web Hooks
/// for Event Delivery, section 4; Azure Event Grid does so). `None` when it does not ask, or its origin is not in `allowed`; `*` in there
/// allows every origin.
pub fn webhook_consent(headers: &HeaderMap, allowed: &[String]) -> Option<Response<Full<Bytes>>> {
    let origin = headers.get("webhook-request-origin")?;
    let is_allowed = allowed
        .iter()
        .any(|known| known == "*" || origin.as_bytes().eq_ignore_ascii_case(known.as_bytes()));
    is_allowed.then(|| {
        let mut response = Response::new(Full::default());
        let answer = response.headers_mut();
        answer.insert(header::ALLOW, HeaderValue::from_static("POST"));
        answer.insert("webhook-allowed-origin", origin.clone());
        if headers.contains_key("webhook-request-rate") {
            answer.insert("webhook-allowed-rate", HeaderValue::from_static("*"));
        }
        response
    })
}

/// The answer to Slack's `url_verification`, which proves that the URL is its owner's: the challenge. `None` for every other body. Check
/// the signature first.
pub fn slack_challenge(body: &[u8]) -> Option<Response<Full<Bytes>>> {
    #[derive(Deserialize)]
    struct Verification {
        #[serde(rename = "type")]
        kind: String,
        challenge: String,
    }
    let verification: Verification = serde_json::from_slice(body).ok()?;
    (verification.kind == "url_verification").then(|| {
        let mut response = Response::new(Full::new(Bytes::from(verification.challenge)));
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        response
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body_util::BodyExt as _;

    #[test]
    fn a_sender_gets_consent_for_its_origin_alone() {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-request-origin", HeaderValue::from_static("sender.example"));
        let consent = |headers: &HeaderMap, allowed: &str| webhook_consent(headers, &[allowed.to_owned()]);
        assert!(consent(&headers, "other.example").is_none());
        assert!(consent(&HeaderMap::new(), "*").is_none());
        let response = consent(&headers, "Sender.example").unwrap();
        assert_eq!(response.headers()["webhook-allowed-origin"], "sender.example");
        assert!(!response.headers().contains_key("webhook-allowed-rate"));
        headers.insert("webhook-request-rate", HeaderValue::from_static("120"));
        assert_eq!(consent(&headers, "*").unwrap().headers()["webhook-allowed-rate"], "*");
    }

    #[tokio::test]
    async fn slack_gets_its_challenge_back_and_other_bodies_are_events() {
        let response = slack_challenge(b"{\"type\":\"url_verification\",\"token\":\"t\",\"challenge\":\"c\"}").unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "c");
        for event in [
            b"{\"type\":\"event_callback\",\"challenge\":\"c\"}".as_slice(),
            b"{\"type\":\"url_verification\"}",
            b"payload=x",
        ] {
            assert!(slack_challenge(event).is_none());
        }
    }
}
