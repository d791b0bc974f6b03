//! SQL source: rows of PostgreSQL, MySQL, MariaDB and SQLite as CloudEvents.
//!
//! | file | what is in it |
//! |---|---|
//! | `config.rs` | the `source:` section |
//! | `import.rs` | the configuration of the Java connector |
//! | `relation.rs` | what is read: a table or a query, its columns, and those that order it |
//! | `query.rs` | a query as a part of another one |
//! | `position.rs` | how far it was read, as it is stored |
//! | `window.rs` | the last rows that were read: among them rows appear whose transactions commit late |
//! | `reader.rs` | one relation: what comes next |
//! | `event.rs` | a row to an event |
//! | `source.rs` | the connector |

pub mod codes;
mod config;
mod event;
mod import;
mod position;
mod query;
mod reader;
mod relation;
mod source;
mod window;

pub use config::{JdbcSourceConfig, Mode};
pub use position::Position;
pub use source::JdbcSource;
