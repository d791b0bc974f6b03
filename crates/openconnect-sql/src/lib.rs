//! What the SQL connectors share. PostgreSQL, MySQL, MariaDB and SQLite, one way for each thing.
//!
//! | file | what is in it |
//! |---|---|
//! | `target.rs` | connection strings, native and in `jdbc:` form; login and TLS |
//! | `dialect.rs` | what is said differently from one kind of database to the next |
//! | `pool.rs` | connections; statements and queries in a transaction that is committed, or gone |
//! | `table.rs` | a table's columns, primary key and unique indexes |
//! | `kind.rs` | what a database's types mean; how a column is selected |
//! | `from_json.rs` | fields of events to the values that columns take, without loss |
//! | `keyset.rs`, `mark.rs` | rows page by page in the order of some columns; the values by which they are ordered |
//! | `split.rs` | parts of a relation that are read at the same time |
//! | `import.rs` | `jdbcConfig` of the Java connectors |
//! | `pattern.rs` | names with `*` |
//! | `time.rs` | times as databases write them |
//! | `failure.rs` | what a database's error means; texts name columns, never values |
//!
//! Values are those of `openconnect-change`: they travel as the database's own text wherever a driver's type could lose something: a decimal keeps its digits, a time
//! its microseconds.

mod dialect;
mod failure;
mod from_json;
mod import;
mod keyset;
mod kind;
mod mark;
mod pattern;
mod pool;
mod split;
mod table;
mod target;
mod time;

pub use dialect::Dialect;
pub use failure::{failure, missing};
pub use from_json::Unfit;
pub use import::import_login;
pub use keyset::{Keyset, Select};
pub use mark::Mark;
pub use pattern::NamePattern;
pub use pool::{Connection, Pool, PoolSettings, Statement, Transaction, Value};
pub use split::{Split, SplitRows};
pub use table::{Table, TableName};
pub use target::{Login, Server, SqlTls, Target, TlsMode};
