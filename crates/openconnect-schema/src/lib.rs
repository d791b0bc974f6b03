//! Reads the JSON Schema of a program's settings. Whatever needs to know something of a setting asks here: the check of a
//! configuration, its example, `config plan`, the reference and the comparison of releases.
//!
//! | file | what is in it |
//! |---|---|
//! | [`node`](Node) | a place in a schema: references followed, variants, lists and maps |
//! | [`setting`](settings) | the walk over every setting, by its path |
//! | [`kind`](keep_kind) | a schema of sources and sinks as that of one of the two |
//!
//! Beside the keywords of JSON Schema a setting has these:
//!
//! | keyword | meaning |
//! |---|---|
//! | `x-effect` | what a change of the setting does to events: a text, or one each for `source` and `sink`. A section's holds for what is in it |
//! | `x-only` | the setting is for `source` or for `sink` alone |
//! | `x-in-example` | optional, but most configurations have it |
//! | `x-instead-of` | excludes what it names |

mod kind;
mod node;
mod setting;

pub use kind::keep_kind;
pub use node::Node;
pub use setting::{Setting, settings};
