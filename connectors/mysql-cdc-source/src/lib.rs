//! MySQL CDC source: every committed change of MySQL's and MariaDB's tables, from the binary log, after a snapshot of what was
//! there before. No lock is taken; SELECT, REPLICATION SLAVE and REPLICATION CLIENT are the rights that are needed.
//!
//! | file | what is in it |
//! |---|---|
//! | `config.rs` | the `source:` section |
//! | `position.rs`, `gtid.rs` | where the log was read to, as it is stored; sets of transactions |
//! | `server.rs` | connections for the log, what the server is and how it must be set up |
//! | `snapshot.rs` | the rows that are there, table by table, page by page |
//! | `log.rs` | the binary log: transactions, tables, rows |
//! | `table.rs` | a table as the log describes it |
//! | `value.rs`, `charset.rs` | values of the log as the database would write them |
//! | `event.rs` | a change to events |
//! | `source.rs` | the connector |

mod charset;
mod config;
mod event;
mod gtid;
mod log;
mod position;
mod server;
mod snapshot;
mod source;
mod table;
mod value;

pub use config::{LostPosition, MySqlCdcConfig, SnapshotMode};
pub use position::{Position, SnapshotPosition};
pub use source::MySqlCdcSource;
