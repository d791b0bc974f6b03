//! SQL sink: CloudEvents from EventMesh to rows of PostgreSQL, MySQL, MariaDB and SQLite, one transaction a batch.
//!
//! | file | what is in it |
//! |---|---|
//! | `config.rs` | the `sink:` section |
//! | `import.rs` | the configuration of the Java connector |
//! | `event.rs` | an event to fields by name, to be put or deleted; change events |
//! | `expression.rs` | expressions of the configuration: attributes, and paths into the data |
//! | `raw.rs` | a statement of the configuration's own |
//! | `row.rs` | fields to the values that a table's columns take |
//! | `exact.rs` | what a database would round or cut without a word |
//! | `statement.rs` | rows to multi-row statements |
//! | `tables.rs` | the target's tables; tables and columns that are made |
//! | `deduplicate.rs` | which events were delivered |
//! | `sink.rs` | the connector |

pub mod codes;
mod config;
mod deduplicate;
mod event;
mod exact;
mod expression;
mod import;
mod raw;
mod row;
mod sink;
mod statement;
mod tables;

pub use config::{Deduplicate, Format, JdbcSinkConfig, Mode, UnknownFields};
pub use sink::JdbcSink;
