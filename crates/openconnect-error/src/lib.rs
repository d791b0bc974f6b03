//! Error codes, and the two errors that carry them.
//!
//! | module | what is in it |
//! |---|---|
//! | `code` | [`Code`], [`CodeFamily`], and [`code_table!`], which defines the table of a crate |
//! | [`codes`] | the codes that every crate may raise |
//! | [`error`] | why a command or a program ends |
//! | [`failure`] | why an event could not be delivered |
//! | `cause` | the text of an error with what it came from |

mod cause;
mod code;
pub mod codes;
pub mod error;
pub mod failure;

pub use code::{Code, CodeEntry, CodeFamily};
pub use error::{BoxError, Error, Exit, Result};
pub use failure::{Failure, FailureKind};
