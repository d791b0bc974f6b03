//! How long it takes until the server deletes the log from where it is to be read on: told before it is lost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::gauge;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, Row};
use openconnect_core::Failure;
use openconnect_core::source::Intake;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::server::{connect, failure};

/// How often the server is asked.
const EVERY: Duration = Duration::from_secs(10);
/// Below this part of the retention it is said in the log.
const LOW: f64 = 0.25;

/// How far the log is read: the file, and when the last event in it was written. It stays where it is while the mesh takes nothing:
/// what is read then is not stored, and would be read again.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    intake: watch::Receiver<Intake>,
    at: Arc<Mutex<Option<FileAndTime>>>,
}

type FileAndTime = (Arc<str>, u64);

impl Seen {
    pub(crate) fn new(intake: watch::Receiver<Intake>) -> Self {
        Self {
            intake,
            at: Arc::default(),
        }
    }

    pub(crate) fn set(&self, file: &Arc<str>, seconds: u32) {
        self.store(file, seconds.into());
    }

    /// There is nothing newer.
    pub(crate) fn set_newest(&self, file: &Arc<str>) {
        self.store(file, now());
    }

    fn store(&self, file: &Arc<str>, seconds: u64) {
        if *self.intake.borrow() != Intake::Open {
            return;
        }
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(file), seconds));
    }

    fn get(&self) -> Option<FileAndTime> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Measures until it is dropped. A server that can't be asked is asked again: the reader of the log tells about that.
pub(crate) fn observe(options: Opts, timeout: Duration, seen: Seen) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut low = false;
        loop {
            tokio::time::sleep(EVERY).await;
            let Some((file, seconds)) = seen.get() else { continue };
            let measured = async {
                let mut connection = connect(&options, timeout).await?;
                let measured = measure(&mut connection, &file, seconds).await;
                // A goodbye that is not heard harms nobody.
                let _ = connection.disconnect().await;
                measured
            };
            match measured.await {
                Ok(Some((left, retention))) if left < retention * LOW => {
                    if !low {
                        tracing::warn!(
                            headroom_seconds = left.round(),
                            retention_seconds = retention,
                            "the server will soon delete the log that is not read yet; let the source catch up, or keep the log longer"
                        );
                    }
                    low = true;
                }
                Ok(_) => low = false,
                Err(failure) => tracing::debug!(code = %failure.code, "the headroom is not known: {}", failure.reason()),
            }
        }
    }))
}

/// Seconds that are left and that the server keeps its log; none when it keeps it for ever.
async fn measure(connection: &mut Conn, file: &str, seconds: u64) -> Result<Option<(f64, f64)>, Failure> {
    let logs: Vec<Row> = connection.query("SHOW BINARY LOGS").await.map_err(failure)?;
    let older = logs.iter().filter_map(|row| row.get::<String, _>(0)).position(|name| name == file);
    if let Some(older) = older {
        gauge!("openconnect_cdc_older_log_files").set(f64::from(u32::try_from(older).unwrap_or(u32::MAX)));
    }
    let sql =
        "SHOW GLOBAL VARIABLES WHERE variable_name IN ('binlog_expire_logs_seconds', 'expire_logs_days', 'binlog_expire_logs_auto_purge')";
    let variables: Vec<(String, String)> = connection.query(sql).await.map_err(failure)?;
    let value = |wanted: &str| {
        let found = variables.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.as_str())
    };
    let number = |name: &str| value(name).and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0);
    let retention = match number("binlog_expire_logs_seconds") {
        0.0 => number("expire_logs_days") * 86_400.0,
        seconds => seconds,
    };
    if retention == 0.0 || value("binlog_expire_logs_auto_purge") == Some("OFF") {
        return Ok(None);
    }
    let behind = Duration::from_secs(now().saturating_sub(seconds)).as_secs_f64();
    let left = (retention - behind).max(0.0);
    gauge!("openconnect_cdc_retention_headroom_seconds").set(left);
    Ok(Some((left, retention)))
}
