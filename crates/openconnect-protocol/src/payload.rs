//! An event's data: bytes, interpreted by their content type.
//!
//! Decoders give [`Data::String`] for JSON (the exact text, so that no number loses a digit) and for text, and
//! [`Data::Binary`] for the rest. [`Data::Json`] is taken from connectors that build it.

use std::borrow::Cow;

use cloudevents::event::Data;
use cloudevents::{AttributesReader, Event};

/// Says the content type that the data is JSON? Absent means JSON, as in CloudEvents' JSON format.
pub fn is_json(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else {
        return true;
    };
    let media = media_type(content_type);
    let Some((_, subtype)) = media.split_once('/') else {
        return false;
    };
    subtype.eq_ignore_ascii_case("json") || ends_with_ignore_case(subtype, "+json")
}

/// Says the content type that the data is text (and not JSON)?
pub fn is_text(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else {
        return false;
    };
    let media = media_type(content_type);
    let Some((kind, subtype)) = media.split_once('/') else {
        return false;
    };
    !is_json(Some(content_type))
        && (kind.eq_ignore_ascii_case("text") || subtype.eq_ignore_ascii_case("xml") || ends_with_ignore_case(subtype, "+xml"))
}

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn ends_with_ignore_case(text: &str, end: &str) -> bool {
    text.len() >= end.len() && text.as_bytes()[text.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
}

/// The data as bytes, or `None` when the event has none.
pub fn bytes(event: &Event) -> Option<Cow<'_, [u8]>> {
    event.data().map(data_bytes)
}

pub(crate) fn data_bytes(data: &Data) -> Cow<'_, [u8]> {
    match data {
        Data::Binary(bytes) => Cow::Borrowed(bytes),
        Data::String(text) => Cow::Borrowed(text.as_bytes()),
        Data::Json(value) => Cow::Owned(value.to_string().into_bytes()),
    }
}

/// The data as JSON text, when it is JSON: by content type, and valid.
pub fn json(event: &Event) -> Option<Cow<'_, str>> {
    json_text(event).filter(|text| valid_json(text))
}

/// The data as text that is meant as JSON, by content type: for who reads it anyway, and so finds out whether it is.
pub fn json_text(event: &Event) -> Option<Cow<'_, str>> {
    match event.data()? {
        Data::Json(value) => Some(Cow::Owned(value.to_string())),
        Data::String(text) if is_json(event.datacontenttype()) => Some(Cow::Borrowed(text)),
        Data::Binary(bytes) if is_json(event.datacontenttype()) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        _ => None,
    }
}

/// Is the text one JSON value?
pub fn valid_json(text: &str) -> bool {
    serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
}

/// Replaces the data. Text and JSON become [`Data::String`] when they are UTF-8, all else [`Data::Binary`].
pub fn set_bytes(event: &mut Event, content_type: Option<String>, bytes: Vec<u8>) {
    let textual = is_json(content_type.as_deref()) || is_text(content_type.as_deref());
    let data = match (textual, String::from_utf8(bytes)) {
        (true, Ok(text)) => Data::String(text),
        (false, Ok(text)) => Data::Binary(text.into_bytes()),
        (_, Err(error)) => Data::Binary(error.into_bytes()),
    };
    set(event, content_type, data);
}

/// Sets or removes the content type and sets the data; keeps the data schema.
pub(crate) fn set(event: &mut Event, content_type: Option<String>, data: Data) {
    use cloudevents::AttributesWriter;
    event.set_datacontenttype(content_type);
    event.set_data_unchecked(data);
}
