//! The source with nobody behind it: makes every event and drops it, and writes the number so far ten times a second.
//! `cargo xtask bench cdc` measures it so. Arguments: the URL, and the snapshot mode.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openconnect_core::source::{SourceContext, SourceRunner};
use openconnect_mysql_cdc_source::{MySqlCdcConfig, MySqlCdcSource};

#[tokio::main]
async fn main() {
    let [url, snapshot] = [1, 2].map(|at| std::env::args().nth(at).expect("the arguments are a URL and a snapshot mode"));
    let config = serde_json::json!({ "url": url, "tables": ["*"], "snapshot": snapshot });
    let config: MySqlCdcConfig = serde_json::from_value(config).unwrap();
    let context = SourceContext::alone("null", BTreeMap::new());
    let mut source = SourceRunner::<MySqlCdcSource>::start(config, context).await.unwrap();
    let events = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&events);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            println!("{}", told.load(Ordering::Relaxed));
            std::io::stdout().flush().unwrap();
        }
    });
    loop {
        let records = source.next().await.unwrap();
        let count = records.iter().filter(|record| record.as_event().is_some()).count();
        events.fetch_add(count as u64, Ordering::Relaxed);
    }
}
