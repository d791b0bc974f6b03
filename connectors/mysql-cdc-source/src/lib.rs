//! MySQL CDC source: every committed change of MySQL's and MariaDB's tables, from the binary log, after a snapshot of what was
//! there before. No lock is taken; SELECT, REPLICATION SLAVE and REPLICATION CLIENT are the rights that are needed.
//!
//! | file | what is in it |
//! |---|---|
//! | `config.rs` | the `source:` section |
//! | `import.rs` | the configuration of the Java connector |
//! | `position.rs`, `gtid.rs` | where the log was read to, as it is stored; sets of transactions |
//! | `server.rs` | connections for the log, what the server is and how it must be set up |
//! | `snapshot.rs` | the rows that are there, in chunks, while the log is read |
//! | `held.rs` | what a snapshot has read and not told yet |
//! | `catalog.rs` | what the server's catalog says of the tables and the log does not |
//! | `check.rs` | what reading needs, tried before it begins |
//! | `context.rs` | what does not change while a log is read |
//! | `log.rs`, `rows.rs` | the binary log: transactions and statements; rows |
//! | `statement.rs` | what the statements of the log do: with tables, with rows, or neither |
//! | `compressed.rs` | MariaDB's compressed events and columns |
//! | `image.rs` | a row before and after its change |
//! | `table.rs` | a table as the log describes it |
//! | `columns.rs` | which columns are told, and what is hidden of them |
//! | `value.rs`, `json.rs`, `charset.rs` | values of the log as the database would write them |
//! | `event.rs` | changes, statements and boundaries of transactions as CloudEvents |
//! | `origin.rs` | where a change comes from |
//! | `headroom.rs` | how long the log that is not read yet will be there |
//! | `source.rs` | the connector |

mod catalog;
mod charset;
mod check;
pub mod codes;
mod columns;
mod compressed;
mod config;
mod context;
mod event;
mod gtid;
mod headroom;
mod held;
mod image;
mod import;
mod json;
mod log;
mod origin;
mod position;
mod rows;
mod server;
mod snapshot;
mod source;
mod statement;
mod table;
mod value;

pub use columns::{ColumnSettings, HashMask, Mask};
pub use config::{Format, LostPosition, MySqlCdcConfig, Oversize, SnapshotMode};
pub use position::{Position, SnapshotPosition};
pub use source::MySqlCdcSource;
