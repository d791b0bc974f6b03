//! What the SQL connectors share. PostgreSQL, MySQL, MariaDB and SQLite, one way for each thing.
//!
//! | file | what is in it |
//! |---|---|
//! | `target.rs`, `address.rs` | connection strings, native and in `jdbc:` form; a database on a server |
//! | `login.rs` | who logs in; TLS |
//! | `dialect.rs` | what is said differently from one kind of database to the next |
//! | `pool.rs`, `connection.rs`, `transaction.rs` | connections; statements and queries; a transaction that is committed, or gone |
//! | `statement.rs` | statements and their parameters |
//! | `driver/` | what is different from one driver to the next |
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
//! The features `postgres`, `mysql` (MariaDB too) and `sqlite` say which drivers are in the build; all are by default. A connection
//! string of another driver is refused by name.
//!
//! Values are those of `openconnect-change`: they travel as the database's own text wherever a driver's type could lose something: a decimal keeps its digits, a time
//! its microseconds.

#[cfg(not(any(feature = "postgres", feature = "mysql", feature = "sqlite")))]
compile_error!("choose a driver: one of the features `postgres`, `mysql` and `sqlite`");

#[cfg(any(feature = "postgres", feature = "mysql"))]
mod address;
pub mod codes;
mod connection;
mod dialect;
mod driver;
mod failure;
mod from_json;
mod import;
mod keyset;
mod kind;
mod login;
mod mark;
mod pattern;
mod pool;
mod split;
mod statement;
mod table;
mod target;
mod time;
mod transaction;

pub use connection::Connection;
pub use dialect::Dialect;
pub use driver::PoolSettings;
pub use failure::{TLS_HINT, failure, missing};
pub use from_json::Unfit;
pub use import::import_login;
pub use keyset::{Keyset, Select};
pub use login::{Login, Server, SqlTls, TlsMode};
pub use mark::Mark;
pub use pattern::NamePattern;
pub use pool::Pool;
pub use split::{PageRows, Split, SplitRows};
pub use statement::{Statement, Value};
pub use table::{Table, TableName};
pub use target::Target;
pub use transaction::Transaction;
