//! The sink against a real HTTP server with faults.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use openconnect_core::FailureKind;
use openconnect_core::cloudevents::{Event, EventBuilder, EventBuilderV10};
use openconnect_core::sink::{Batch, Sink, SinkContext, WriteReport};
use openconnect_http_sink::{HttpSink, HttpSinkConfig};

type Seen = Arc<Mutex<Vec<(http::request::Parts, Bytes)>>>;
type Answer = fn(&http::request::Parts, &Bytes) -> Response<Full<Bytes>>;

/// Starts a server that records requests and answers with `answer`.
async fn server(answer: Answer) -> (String, Seen) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let record = Arc::clone(&record);
            let service = service_fn(move |request: Request<Incoming>| {
                let record = Arc::clone(&record);
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    let response = answer(&head, &body);
                    record.lock().unwrap().push((head, body));
                    Ok::<_, hyper::Error>(response)
                }
            });
            tokio::spawn(async move {
                let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (url, seen)
}

fn status(code: u16) -> Response<Full<Bytes>> {
    Response::builder().status(code).body(Full::default()).unwrap()
}

async fn sink(config: serde_json::Value) -> HttpSink {
    openconnect_core::tls::install_provider();
    let config: HttpSinkConfig = serde_json::from_value(config).unwrap();
    let context = SinkContext::alone("t", &HttpSink::profile(&config));
    HttpSink::open(config, context).await.unwrap()
}

/// Writes a batch of the events' target, as the core does.
async fn write(sink: &HttpSink, ids: &[&str]) -> WriteReport {
    let batch = batch(ids);
    let target = batch.events().next().map(|event| sink.target(event).unwrap()).unwrap();
    sink.write(&batch.with_target(target)).await
}

fn event(id: &str) -> Event {
    EventBuilderV10::new()
        .id(id)
        .source("/s")
        .ty("a b")
        .extension("partitionkey", "grüße")
        .data("application/json", "{\"n\":1.50}".to_owned())
        .build()
        .unwrap()
}

fn batch(ids: &[&str]) -> Batch {
    Batch::new(ids.iter().map(|id| Arc::new(event(id))).collect())
}

#[tokio::test]
async fn binary_mode_puts_attributes_into_headers_and_leaves_the_data_alone() {
    let (url, seen) = server(|_, _| status(204)).await;
    let sink = sink(serde_json::json!({
        "url": format!("{url}/in/{{{{ type | urlencode }}}}"), "auth": { "type": "bearer", "token": "t0ken" }, "signature": { "secret": "k" }
    }))
    .await;
    assert_eq!(write(&sink, &["1"]).await, WriteReport::Delivered);
    let seen = seen.lock().unwrap();
    let (head, body) = &seen[0];
    assert_eq!(head.uri.path(), "/in/a%20b");
    assert_eq!(head.headers["ce-type"], "a%20b");
    assert_eq!(head.headers["ce-partitionkey"], "gr%C3%BC%C3%9Fe");
    assert_eq!(head.headers["authorization"], "Bearer t0ken");
    assert_eq!(head.headers["x-hub-signature-256"].len(), 71);
    assert_eq!(body.as_ref(), b"{\"n\":1.50}");
}

#[tokio::test]
async fn credentials_in_the_url_are_sent_and_what_is_configured_goes_before_them() {
    let (url, seen) = server(|_, _| status(204)).await;
    let url = format!("{}/in?a=b#there", url.replace("http://", "http://us%20er:p%3Ass@"));
    for auth in [
        serde_json::json!({ "type": "none" }),
        serde_json::json!({ "type": "bearer", "token": "t0ken" }),
    ] {
        let sink = sink(serde_json::json!({ "url": url, "auth": auth })).await;
        assert_eq!(write(&sink, &["1"]).await, WriteReport::Delivered);
    }
    let seen = seen.lock().unwrap();
    // `us er:p:ss`
    for ((head, _), authorization) in seen.iter().zip(["Basic dXMgZXI6cDpzcw==", "Bearer t0ken"]) {
        assert_eq!(head.uri, "/in?a=b");
        assert_eq!(head.headers["authorization"], authorization);
        assert!(head.headers["user-agent"].to_str().unwrap().starts_with("openconnect-http-sink/"));
    }
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn a_batch_is_one_request_and_compressed() {
    let (url, seen) = server(|_, _| status(200)).await;
    let sink = sink(serde_json::json!({ "url": url, "mode": "batch", "compression": { "encoding": "gzip", "min_bytes": 1 } })).await;
    assert_eq!(write(&sink, &["1", "2", "3"]).await, WriteReport::Delivered);
    let seen = seen.lock().unwrap();
    assert_eq!(
        (seen.len(), &seen[0].0.headers["content-encoding"]),
        (1, &http::HeaderValue::from_static("gzip"))
    );
    let mut text = String::new();
    flate2::read::GzDecoder::new(seen[0].1.as_ref()).read_to_string(&mut text).unwrap();
    assert_eq!(openconnect_protocol::json::decode_batch(text.as_bytes()).unwrap().len(), 3);
}

#[tokio::test]
async fn answers_say_what_to_do() {
    let (url, _) = server(|head, _| match head.uri.path() {
        "/busy" => Response::builder()
            .status(503)
            .header("retry-after", "7")
            .body(Full::default())
            .unwrap(),
        "/move" => Response::builder()
            .status(302)
            .header("location", "http://127.0.0.1:1/")
            .body(Full::default())
            .unwrap(),
        path => status(path[1..].parse().unwrap()),
    })
    .await;
    let kind = async |path: &str| {
        let sink = sink(serde_json::json!({ "url": format!("{url}{path}"), "mode": "batch" })).await;
        match write(&sink, &["1"]).await {
            WriteReport::Failed(failure) => failure.kind,
            report => panic!("{report:?}"),
        }
    };
    assert_eq!(
        kind("/busy").await,
        FailureKind::Throttled {
            after: Duration::from_secs(7)
        }
    );
    assert_eq!(kind("/500").await, FailureKind::Retryable { after: None });
    assert_eq!(kind("/401").await, FailureKind::Retryable { after: None });
    assert_eq!(kind("/404").await, FailureKind::Permanent);
    assert_eq!(kind("/move").await, FailureKind::Permanent);
}

#[tokio::test]
async fn an_oauth2_token_is_fetched_once_and_again_when_refused() {
    let (url, seen) = server(|head, _| match head.uri.path() {
        "/token" => Response::new(Full::new(Bytes::from_static(b"{\"access_token\":\"abc\",\"expires_in\":3600}"))),
        "/refuses" => status(401),
        _ => status(if head.headers["authorization"] == "Bearer abc" { 200 } else { 400 }),
    })
    .await;
    let with = |path: &str| {
        serde_json::json!({ "url": format!("{url}{path}"), "mode": "structured",
            "auth": { "type": "oauth2", "token_url": format!("{url}/token"), "client_id": "c", "client_secret": "s" } })
    };
    let good = sink(with("/in")).await;
    for _ in 0..2 {
        assert_eq!(write(&good, &["1"]).await, WriteReport::Delivered);
    }
    let tokens = || seen.lock().unwrap().iter().filter(|(head, _)| head.uri.path() == "/token").count();
    assert_eq!(tokens(), 1);
    let refused = sink(with("/refuses")).await;
    for _ in 0..2 {
        assert!(matches!(write(&refused, &["1"]).await, WriteReport::Failed(_)));
    }
    assert_eq!(tokens(), 3);
}

#[tokio::test]
async fn a_target_that_is_down_or_hangs_is_worth_another_try_and_no_secret_shows() {
    let down = sink(serde_json::json!({ "url": "http://user:canary@127.0.0.1:1/?key=canary", "mode": "batch" })).await;
    let WriteReport::Failed(failure) = write(&down, &["1"]).await else {
        panic!()
    };
    assert!(failure.is_retryable() && failure.code == "HTTP_CONNECT", "{failure}");
    assert!(!format!("{failure:?}").contains("canary"), "{failure}");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = format!("http://{}", listener.local_addr().unwrap());
    let sink = sink(serde_json::json!({ "url": hanging, "mode": "batch", "timeout": "50ms" })).await;
    let WriteReport::Failed(failure) = write(&sink, &["1"]).await else {
        panic!()
    };
    assert_eq!(failure.code, "HTTP_TIMEOUT");
}

#[tokio::test]
async fn a_late_refusal_of_an_old_token_keeps_the_new_one() {
    static TOKENS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let (url, _) = server(|head, _| match head.uri.path() {
        "/token" => {
            let number = TOKENS.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            // As text, which some servers write.
            let body = format!("{{\"access_token\":\"t{number}\",\"expires_in\":\"3600\"}}");
            Response::new(Full::new(Bytes::from(body)))
        }
        // The first token is revoked from the start.
        _ => status(if head.headers["authorization"] == "Bearer t0" { 401 } else { 200 }),
    })
    .await;
    let config = serde_json::json!({ "url": url, "mode": "structured",
        "auth": { "type": "oauth2", "token_url": format!("{url}/token"), "client_id": "c", "client_secret": "s" } });
    let sink = sink(config).await;
    let batches: Vec<Batch> = (0..16).map(|n| batch(&[&n.to_string()])).collect();
    futures_util::future::join_all(batches.iter().map(|batch| sink.write(batch))).await;
    for batch in &batches {
        assert_eq!(sink.write(batch).await, WriteReport::Delivered);
    }
    assert_eq!(TOKENS.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_check_tells_what_the_endpoint_says() {
    openconnect_core::tls::install_provider();
    let (url, seen) = server(|head, _| match (head.uri.path(), head.headers.get("authorization")) {
        ("/well", Some(_)) => status(204),
        ("/no-head", Some(_)) => status(405),
        ("/ill", _) => status(500),
        _ => status(401),
    })
    .await;
    let auth = serde_json::json!({ "type": "bearer", "token": "t" });
    for (config, passes) in [
        (
            serde_json::json!({ "url": format!("{url}/no-head"), "mode": "batch", "auth": auth }),
            true,
        ),
        (serde_json::json!({ "url": format!("{url}/no-head"), "mode": "batch" }), false),
        (
            serde_json::json!({ "url": format!("{url}/ill"), "mode": "batch", "auth": auth }),
            false,
        ),
        (
            serde_json::json!({ "url": "http://127.0.0.1:1", "health_url": format!("{url}/well"), "auth": auth }),
            true,
        ),
        (
            serde_json::json!({ "url": "http://127.0.0.1:1", "health_url": format!("{url}/no-head"), "auth": auth }),
            false,
        ),
    ] {
        let checked = HttpSink::check(serde_json::from_value(config.clone()).unwrap()).await;
        assert_eq!(checked.is_ok(), passes, "{config}: {checked:?}");
    }
    assert!(seen.lock().unwrap().iter().any(|(head, _)| head.method == "GET"));
}

#[tokio::test]
async fn an_endpoint_that_asks_for_less_gets_no_more_of_the_batch() {
    let (url, seen) = server(|_, _| status(429)).await;
    let sink = sink(serde_json::json!({ "url": url })).await;
    let WriteReport::PerEvent(results) = write(&sink, &["1", "2", "3"]).await else {
        panic!()
    };
    assert!(results.iter().all(Result::is_err));
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn events_of_one_rendered_url_and_header_share_a_target() {
    let (url, seen) = server(|_, _| status(200)).await;
    let sink = sink(serde_json::json!({
        "url": format!("{url}/{{{{ id }}}}"), "headers": { "x-type": "{{ type }}" }, "mode": "batch"
    }))
    .await;
    let target = |id: &str| sink.target(&event(id)).unwrap();
    assert_eq!(target("1"), target("1"));
    assert_ne!(target("1"), target("2"));
    assert_eq!(write(&sink, &["1", "1"]).await, WriteReport::Delivered);
    let seen = seen.lock().unwrap();
    assert_eq!(
        (seen.len(), seen[0].0.uri.path(), &seen[0].0.headers["x-type"]),
        (1, "/1", &"a b".parse().unwrap())
    );
}

#[tokio::test]
async fn one_refused_token_request_answers_all_who_wait_for_a_token() {
    let (url, seen) = server(|_, _| {
        Response::builder()
            .status(429)
            .header("retry-after", "60")
            .body(Full::default())
            .unwrap()
    })
    .await;
    let config = serde_json::json!({ "url": url, "mode": "structured",
        "auth": { "type": "oauth2", "token_url": format!("{url}/token"), "client_id": "c", "client_secret": "s" } });
    let sink = sink(config).await;
    let batches: Vec<Batch> = (0..60).map(|n| batch(&[&n.to_string()])).collect();
    for report in futures_util::future::join_all(batches.iter().map(|batch| sink.write(batch))).await {
        let WriteReport::Failed(failure) = report else {
            panic!("{report:?}")
        };
        let FailureKind::Retryable { after: Some(after) } = failure.kind else {
            panic!("{failure:?}")
        };
        assert!((50..=60).contains(&after.as_secs()), "{after:?}");
    }
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_client_may_show_its_secret_in_the_body() {
    let (url, seen) = server(|head, _| match head.uri.path() {
        "/token" => Response::new(Full::new(Bytes::from_static(b"{\"access_token\":\"abc\"}"))),
        _ => status(204),
    })
    .await;
    let config = serde_json::json!({ "url": url, "auth": { "type": "oauth2", "token_url": format!("{url}/token"), "client_id": "c d",
        "client_secret": "s&t", "client_authentication": "post" } });
    assert_eq!(write(&sink(config).await, &["1"]).await, WriteReport::Delivered);
    let seen = seen.lock().unwrap();
    let (head, body) = &seen[0];
    assert!(!head.headers.contains_key("authorization"));
    assert_eq!(body.as_ref(), b"grant_type=client_credentials&client_id=c+d&client_secret=s%26t");
    assert_eq!(seen[1].0.headers["authorization"], "Bearer abc");
}

#[tokio::test]
async fn a_line_of_ndjson_is_one_event_whatever_its_data_looks_like() {
    let (url, seen) = server(|_, _| status(204)).await;
    let sink = sink(serde_json::json!({ "url": url, "mode": "ndjson" })).await;
    let pretty = EventBuilderV10::new().id("1").source("/s").ty("t");
    let pretty = pretty
        .data("application/json", "{\r\n  \"n\": 1.50\r\n}".to_owned())
        .build()
        .unwrap();
    let events = Batch::new(vec![Arc::new(pretty), Arc::new(event("2"))]);
    assert_eq!(sink.write(&events).await, WriteReport::Delivered);
    let seen = seen.lock().unwrap();
    let text = std::str::from_utf8(&seen[0].1).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(
        text.lines().all(|line| openconnect_protocol::json::decode(line.as_bytes()).is_ok()),
        "{text}"
    );
    assert_eq!(seen[0].0.headers["content-type"], "application/x-ndjson");
}
