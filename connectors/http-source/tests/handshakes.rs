//! What senders ask the running server before their first event.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use openconnect_core::source::{Source, SourceContext};
use openconnect_http_source::{HttpSource, HttpSourceConfig};
use ring::hmac;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn source(mut config: serde_json::Value) -> HttpSource {
    config["listen"] = "127.0.0.1:0".into();
    let config: HttpSourceConfig = serde_json::from_value(config).unwrap();
    let opened = HttpSource::open(config, SourceContext::alone("hook", BTreeMap::new())).await;
    opened.unwrap().0
}

/// The response to a request with these lines of a head.
async fn ask(source: &HttpSource, head: &str, body: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(source.address()).await.unwrap();
    let request = format!(
        "{head}\r\nhost: h\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn a_cloudevents_sender_gets_consent_only_where_it_is_allowed() {
    let options = "OPTIONS / HTTP/1.1\r\nwebhook-request-origin: sender.example\r\nwebhook-request-rate: 120";
    let open = source(serde_json::json!({ "allowed_origins": ["sender.example"], "auth": { "type": "bearer", "token": "t" } })).await;
    let response = ask(&open, options, "").await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert!(response.contains("webhook-allowed-origin: sender.example"), "{response}");
    assert!(response.contains("webhook-allowed-rate: *"), "{response}");
    let elsewhere = options.replace("OPTIONS /", "OPTIONS /other");
    assert!(ask(&open, &elsewhere, "").await.starts_with("HTTP/1.1 404"));
    let closed = source(serde_json::json!({})).await;
    assert!(ask(&closed, options, "").await.starts_with("HTTP/1.1 405"));
}

#[tokio::test]
async fn slack_gets_its_challenge_back_when_it_has_signed_it() {
    let source = source(serde_json::json!({ "auth": { "type": "slack", "secret": "s" } })).await;
    let body = "{\"type\":\"url_verification\",\"challenge\":\"c-1\"}";
    let time = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let sign = |key: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        hex::encode(hmac::sign(&key, format!("v0:{time}:{body}").as_bytes()))
    };
    let head = |signature: String| {
        format!(
            "POST / HTTP/1.1\r\ncontent-type: application/json\r\nx-slack-request-timestamp: {time}\r\nx-slack-signature: v0={signature}"
        )
    };
    let response = ask(&source, &head(sign("s")), body).await;
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("c-1"), "{response}");
    assert!(ask(&source, &head(sign("another")), body).await.starts_with("HTTP/1.1 401"));
}
