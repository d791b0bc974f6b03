//! Settings of a program: one file, environment and flags over it, every mistake reported at once. And what the values in it are:
//! durations, sizes, secrets, TLS.
//!
//! | file | what is in it |
//! |---|---|
//! | [`layers`](Sources), `yaml`, `placeholder` | file, environment and flags merged into one value; `${env:…}` and `${file:…}` |
//! | `place`, [`problem`](Problem) | where a value was written; one mistake |
//! | [`schema`](schema()), `check` | the JSON Schema of settings (`openconnect-schema` reads it); a value held against it |
//! | [`load`](load()) | all of it in order |
//! | [`example`](example()), [`write`](write_yaml), `redact`, [`dotted`](dotted()), [`written`](Written) | an example made from the schema; a value as YAML; what may be shown; a value by dotted paths; what differs |
//! | [`contradiction`](contradictions) | is it true what example and schema say |
//! | [`duration`], [`bytes_size`], [`secret`], [`tls`], [`logs`], [`folder`] | values of settings, and what is made of them |
//! | [`codes`] | the error codes of this crate |

pub mod bytes_size;
mod check;
pub mod codes;
mod contradiction;
mod dotted;
pub mod duration;
mod example;
pub mod folder;
mod layers;
mod load;
pub mod logs;
mod place;
mod placeholder;
mod problem;
mod redact;
mod schema;
pub mod secret;
pub mod tls;
mod write;
mod written;
mod yaml;

pub use contradiction::contradictions;
pub use dotted::dotted;
pub use example::example;
pub use layers::Sources;
pub use load::{Read, Reader, load, read};
pub use logs::{LogFormat, LogSettings};
pub use problem::{Problem, Problems, Rejected};
pub use schema::{schema, schema_with};
pub use write::write_yaml;
pub use written::{Change, Written};
pub use yaml::{SyntaxError, yaml_value};
