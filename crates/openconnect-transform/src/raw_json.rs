//! JSON by its text: only what is asked for is read, and every number keeps its digits.
//!
//! What is not asked for may be whatever JSON allows: a number beyond every type, half of a surrogate pair, thousands of levels.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use indexmap::IndexMap;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Where a value is in the text of the one around it.
pub(crate) type Place = Range<usize>;

/// The values right inside an array or an object.
#[derive(Debug)]
pub(crate) enum Members {
    Array(Vec<Place>),
    /// In the text's order. A name is in bytes: it may hold half of a surrogate pair. Of a name that is there twice, the last one counts.
    Object(IndexMap<Box<[u8]>, Place>),
}

/// The members of an array or object; `None` where the text is another kind of value, or is not JSON.
pub(crate) fn members(text: &str) -> Option<Members> {
    let mut reader = serde_json::Deserializer::from_str(text);
    match text.trim_start().as_bytes().first()? {
        b'{' => reader.deserialize_map(Reader(text)).ok(),
        b'[' => reader.deserialize_seq(Reader(text)).ok(),
        _ => None,
    }
}

/// The text of a JSON string; `None` where it holds half of a surrogate pair, which no text can.
pub(crate) fn string(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

/// Writes JSON without the white space between its tokens.
pub(crate) fn write_compact(text: &str, out: &mut impl fmt::Write) -> fmt::Result {
    let (mut from, mut in_string, mut escaped) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b' ' | b'\t' | b'\r' | b'\n' if !in_string => {
                out.write_str(&text[from..at])?;
                from = at + 1;
            }
            _ => {}
        }
    }
    out.write_str(&text[from..])
}

struct Reader<'a>(&'a str);

impl Reader<'_> {
    fn place(&self, value: &RawValue) -> Place {
        let start = value.get().as_ptr() as usize - self.0.as_ptr() as usize;
        start..start + value.get().len()
    }
}

impl<'de> Visitor<'de> for Reader<'de> {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Members, A::Error> {
        let mut places = Vec::new();
        while let Some(item) = items.next_element::<&RawValue>()? {
            places.push(self.place(item));
        }
        Ok(Members::Array(places))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Members, A::Error> {
        let mut places = IndexMap::new();
        while let Some(name) = fields.next_key_seed(Name)? {
            places.insert(name.into(), self.place(fields.next_value::<&RawValue>()?));
        }
        Ok(Members::Object(places))
    }
}

/// Reads a name as bytes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, [u8]>;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, [u8]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_bytes<E>(self, name: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_bytes<E>(self, name: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_vec()))
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name.as_bytes()))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.as_bytes().to_vec()))
    }
}
