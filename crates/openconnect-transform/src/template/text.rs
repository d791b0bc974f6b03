//! How a value becomes text: as JSON writes it, a text as it is.

use std::borrow::Cow;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind, State};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{json, work};
use crate::raw_json;

/// Bytes of a rendered text, and of what a filter makes.
pub(super) const OUTPUT: usize = 64 << 10;

/// The text of a value.
pub(super) fn of(value: &Value) -> Result<Cow<'_, str>, Error> {
    if let Some(text) = value.as_str() {
        return Ok(Cow::Borrowed(text));
    }
    match value.kind() {
        // What is undefined in the eyes of a strict template does not come here to be written: this is an `if` without `else`.
        ValueKind::Undefined => Ok(Cow::Borrowed("")),
        ValueKind::None => Err(Error::from(ErrorKind::UndefinedError)),
        _ => {
            let mut out = Bounded::default();
            write_json(value, &mut out)?;
            Ok(Cow::Owned(out.into_text()))
        }
    }
}

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The text percent-encoded, all but unreserved characters, in pieces.
pub(super) fn percent_encoded(text: &str) -> impl Iterator<Item = &str> {
    utf8_percent_encode(text, RESERVED)
}

/// The text of a value that a filter works on, which must be there.
pub(super) fn of_defined(value: &Value) -> Result<Cow<'_, str>, Error> {
    match value.is_undefined() {
        true => Err(Error::from(ErrorKind::UndefinedError)),
        false => of(value),
    }
}

/// Writes a value as JSON. What comes from an event's data is written as it was sent, without the white space between its parts.
pub(super) fn write_json(value: &Value, out: &mut Bounded) -> Result<(), Error> {
    if let Some(text) = json::text_of(value) {
        return raw_json::write_compact(text, out).map_err(|_| too_much());
    }
    match value.kind() {
        ValueKind::None => out.push("null"),
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::Bool => out.push(if value.is_true() { "true" } else { "false" }),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push("[")?;
            for (at, item) in value.try_iter()?.enumerate() {
                separate(at, out)?;
                write_json(&item, out)?;
            }
            out.push("]")
        }
        ValueKind::Map => {
            out.push("{")?;
            for (at, name) in value.try_iter()?.enumerate() {
                separate(at, out)?;
                quote(&of(&name)?, out)?;
                out.push(":")?;
                write_json(&value.get_item(&name)?, out)?;
            }
            out.push("}")
        }
        _ => match value.as_str() {
            Some(text) => quote(text, out),
            None => out.push(&value.to_string()),
        },
    }
}

fn separate(at: usize, out: &mut Bounded) -> Result<(), Error> {
    match at {
        0 => Ok(()),
        _ => out.push(","),
    }
}

fn quote(text: &str, out: &mut Bounded) -> Result<(), Error> {
    serde_json::to_writer(out, text).map_err(|_| too_much())
}

/// A text that is made piece by piece, up to [`OUTPUT`].
#[derive(Default)]
pub(super) struct Bounded(String);

impl Bounded {
    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// The text as what a filter gives, which the rendering then reads.
    pub(super) fn into_value(self, state: &State<'_, '_>) -> Result<String, Error> {
        work::read(state, self.0.len())?;
        Ok(self.0)
    }

    pub(super) fn push(&mut self, piece: &str) -> Result<(), Error> {
        if self.0.len() + piece.len() > OUTPUT {
            return Err(too_much());
        }
        self.0.push_str(piece);
        Ok(())
    }
}

fn too_much() -> Error {
    // The kind of an output that takes no more.
    Error::new(ErrorKind::WriteFailure, format!("a text has more than {} KiB", OUTPUT >> 10))
}

impl std::fmt::Write for Bounded {
    fn write_str(&mut self, piece: &str) -> std::fmt::Result {
        self.push(piece).map_err(|_| std::fmt::Error)
    }
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let piece = std::str::from_utf8(bytes).map_err(std::io::Error::other)?;
        self.push(piece).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
