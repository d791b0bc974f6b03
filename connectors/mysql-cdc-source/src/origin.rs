//! Where a change comes from: the server, the log and the place in it.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use openconnect_change::{ChangeSource, push_text};

/// A change's place in the log, or in a snapshot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin<'a> {
    /// `gtid/event/row`, `file:begin/event/row`, or that of a snapshot.
    pub(crate) id: String,
    pub(crate) database: &'a str,
    pub(crate) table: &'a str,
    pub(crate) gtid: Option<&'a str>,
    pub(crate) file: &'a str,
    /// Where its transaction begins.
    pub(crate) begin: u64,
    /// Where its event in the log begins.
    pub(crate) pos: u64,
    /// Which of the event's rows it is.
    pub(crate) row: u64,
    /// The connection that made it; 0 in a snapshot.
    pub(crate) thread: u32,
    pub(crate) server_id: u32,
    /// Seconds since 1970; none in a snapshot.
    pub(crate) seconds: Option<u32>,
}

impl ChangeSource for Origin<'_> {
    fn push_native(&self, out: &mut String) {
        out.push_str("{\"connector\":\"mysql\",\"db\":");
        push_text(out, self.database);
        out.push_str(",\"table\":");
        push_text(out, self.table);
        // Writing to a text cannot fail.
        let _ = write!(out, ",\"server_id\":{},\"gtid\":", self.server_id);
        push_gtid(out, self.gtid);
        out.push_str(",\"file\":");
        push_text(out, self.file);
        let _ = write!(
            out,
            ",\"pos\":{},\"row\":{},\"ts_ms\":{},\"snapshot\":{}}}",
            self.begin,
            self.row,
            self.seconds.map_or(0, |seconds| u64::from(seconds) * 1000),
            self.is_snapshot(),
        );
    }

    fn push_debezium(&self, out: &mut String) {
        out.push_str(",\"db\":");
        push_text(out, self.database);
        out.push_str(",\"sequence\":null,\"table\":");
        push_text(out, self.table);
        let _ = write!(out, ",\"server_id\":{},\"gtid\":", self.server_id);
        push_gtid(out, self.gtid);
        out.push_str(",\"file\":");
        push_text(out, self.file);
        let _ = write!(out, ",\"pos\":{},\"row\":{},\"thread\":", self.pos, self.row);
        match self.thread {
            0 => out.push_str("null"),
            thread => drop(write!(out, "{thread}")),
        }
        out.push_str(",\"query\":null");
    }

    fn connector(&self) -> &str {
        "mysql"
    }

    fn is_snapshot(&self) -> bool {
        self.seconds.is_none()
    }

    fn time(&self) -> Option<DateTime<Utc>> {
        self.seconds.and_then(|seconds| DateTime::from_timestamp(seconds.into(), 0))
    }
}

fn push_gtid(out: &mut String, gtid: Option<&str>) {
    match gtid {
        Some(gtid) => push_text(out, gtid),
        None => out.push_str("null"),
    }
}
