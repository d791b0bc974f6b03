//! What the SQL connectors share. PostgreSQL, MySQL, MariaDB and SQLite, one way for each thing.
//!
//! | file | what is in it |
//! |---|---|
//! | `target.rs` | connection strings, native and in `jdbc:` form; login and TLS |
//! | `dialect.rs` | what is said differently from one kind of database to the next |
//! | `pool.rs` | connections; statements and queries in a transaction that is committed, or gone |
//! | `table.rs` | a table's columns, primary key and unique indexes |
//! | `kind.rs` | kinds of columns: how a value is written as JSON |
//! | `to_json.rs`, `from_json.rs` | values from a database to JSON and back, without loss |
//! | `keyset.rs`, `mark.rs` | rows page by page in the order of some columns; the values by which they are ordered |
//! | `split.rs` | parts of a relation that are read at the same time |
//! | `key.rs` | a row's key as text |
//! | `import.rs` | `jdbcConfig` of the Java connectors |
//! | `pattern.rs` | names with `*` |
//! | `time.rs` | times as databases and as CloudEvents write them |
//! | `failure.rs` | what a database's error means; texts name columns, never values |
//!
//! Values travel as the database's own text wherever a driver's type could lose something: a decimal keeps its digits, a time
//! its microseconds.

mod dialect;
mod failure;
mod from_json;
mod import;
mod key;
mod keyset;
mod kind;
mod mark;
mod pattern;
mod pool;
mod split;
mod table;
mod target;
mod time;
mod to_json;

pub use dialect::Dialect;
pub use failure::{failure, missing};
pub use from_json::{Input, Unfit};
pub use import::import_login;
pub use key::{attribute_text, key_text};
pub use keyset::{Keyset, Select};
pub use kind::{Decimals, Kind};
pub use mark::Mark;
pub use pattern::NamePattern;
pub use pool::{Cell, Connection, Pool, PoolSettings, Statement, Transaction, Value};
pub use split::{Split, SplitRows};
pub use table::{Column, Table, TableName};
pub use target::{Login, Server, SqlTls, Target, TlsMode};
pub use to_json::{json_text, plain_integer, push_json, push_row, push_text, row_json, row_size};
