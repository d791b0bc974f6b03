//! Debezium's format.
//!
//! | file | what is in it |
//! |---|---|
//! | `write.rs` | envelopes without schemas |
//! | `read.rs` | values of events with a schema |

mod read;
mod write;

pub(crate) use read::FieldSchema;
pub use write::DebeziumWriter;
