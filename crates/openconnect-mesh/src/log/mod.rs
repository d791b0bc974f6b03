//! A topic's durable log: `record.rs` (what one entry holds), `tail.rs` (the newest entries in memory), `entries.rs` (both, as groups read them), `topic.rs`
//! (group commit, retention and the topic's groups), `cursors.rs` (where the groups stand, on disk).

pub(crate) mod cursors;
pub(crate) mod entries;
pub(crate) mod record;
pub(crate) mod tail;
pub(crate) mod topic;
