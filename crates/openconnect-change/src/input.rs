//! A field of a change that was read.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// What a field holds, before it is known what the target's column takes. Nothing is read out of JSON that is not needed, and
/// numbers stay the text that they were.
#[derive(Debug, Clone)]
pub enum Input<'a> {
    /// Nothing.
    Null,
    /// JSON, exactly as it came.
    Json(&'a RawValue),
    /// A text that is not JSON: an attribute, or a value in a database's own words.
    Text(Cow<'a, str>),
    /// A text that is a JSON document.
    Document(Cow<'a, str>),
    /// Data that is not JSON.
    Bytes(Cow<'a, [u8]>),
    /// An attribute.
    Integer(i64),
    /// An attribute.
    Bool(bool),
}
