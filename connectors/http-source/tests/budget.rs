//! Requests and the events made of them share the connector's one budget of bytes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use openconnect_core::budget::Budget;
use openconnect_core::source::{SourceContext, SourceRunner};
use openconnect_http_source::{HttpSource, HttpSourceConfig};
use openconnect_testkit::kit::free_address;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const BODY: usize = 300 << 10;

/// Sends a request; the answer's status code.
fn post(address: SocketAddr) -> JoinHandle<u16> {
    tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: {BODY}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // A request that is refused may be answered before all of it is read.
        let _ = stream.write_all(&vec![b'x'; BODY]).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap().parse().unwrap()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_budget_get_503_and_its_bytes_come_back_with_the_outcomes() {
    let address = free_address().unwrap();
    let config: HttpSourceConfig = serde_json::from_value(json!({ "listen": address.to_string() })).unwrap();
    let budget = Budget::with_bytes(1 << 20);
    let mut context = SourceContext::alone("test", BTreeMap::new());
    context.budget = budget.clone();
    let mut runner = SourceRunner::<HttpSource>::start(config, context).await.unwrap();
    // Three bodies fit. Their events are taken, and wait for the mesh.
    let waiting: Vec<_> = (0..3).map(|_| post(address)).collect();
    let mut records = Vec::new();
    while records.len() < 3 {
        let next = tokio::time::timeout(Duration::from_secs(20), runner.next()).await;
        records.extend(next.unwrap().unwrap());
    }
    let used = budget.used();
    assert!((3 * BODY..3 * BODY + 3 * 1024).contains(&used), "{used} bytes are reserved");
    assert_eq!(post(address).await.unwrap(), 503);
    assert_eq!(budget.used(), used, "a request that was refused keeps nothing");
    // Dropped without an outcome: the callers are told to try again, and there is room.
    drop(records);
    for answer in waiting {
        assert_eq!(answer.await.unwrap(), 503);
    }
    assert_eq!(budget.used(), 0);
    let _next = post(address);
    let records = runner.next().await.unwrap();
    assert_eq!(records.len(), 1);
    drop(records);
    runner.close().await.unwrap();
}
