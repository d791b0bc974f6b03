//! Changes of rows as events: our format and Debezium's, written and read. Knows no database and no driver.
//!
//! | file | what is in it |
//! |---|---|
//! | `change.rs` | a change as it is written: operation, rows, transaction, source |
//! | `native.rs` | our format |
//! | `debezium/` | Debezium's format |
//! | `read.rs` | a change as it is read, from either format |
//! | `cell.rs`, `kind.rs` | values as databases write them, their columns and what they mean |
//! | `to_json.rs`, `time.rs` | values and times as JSON, without loss |
//! | `input.rs`, `by_name.rs` | values as they are read; values by their names |
//! | `key.rs` | a row's key as text |
//!
//! Writers append to a text and build no document; readers borrow from the event's JSON and read what is asked for.

mod by_name;
mod cell;
mod change;
pub mod debezium;
mod input;
mod key;
mod kind;
pub mod native;
mod read;
mod time;
mod to_json;

pub use by_name::ByName;
pub use cell::{Cell, Column};
pub use change::{Change, ChangeSource, Op, TransactionOrder};
pub use input::Input;
pub use key::{attribute_text, key_text, ordering_text};
pub use kind::{Decimals, Kind};
pub use read::{Fields, ReadChange, ReadError, read};
pub use to_json::{json_text, plain_number, push_json, push_row, push_text, row_json, row_size};
