//! SQL sink: CloudEvents from EventMesh to rows, one transaction a batch.
//!
//! | file | what is in it |
//! |---|---|
//! | `config.rs` | the `sink:` section |
//! | `url.rs` | connection strings, native and in `jdbc:` form |
//! | `row.rs` | an event to a row: columns, keys, values without loss |
//! | `statement.rs` | rows to multi-row statements, identifiers quoted |
//! | `database.rs` | SQLite: connection, columns of a table, what an error means |
//! | `sink.rs` | the connector |

mod config;
mod database;
mod row;
mod sink;
mod statement;
mod url;

pub use config::JdbcSinkConfig;
pub use sink::JdbcSink;
