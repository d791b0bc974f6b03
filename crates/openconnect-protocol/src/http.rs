//! CloudEvents' HTTP protocol binding, binary mode: attributes in `ce-` headers, percent-encoded (3.1.3.2).

use cloudevents::event::ExtensionValue;
use cloudevents::{AttributesReader, Event};

use crate::EventError;
use crate::members::{Members, time_text};

/// The `ce-` headers of an event, name and encoded value. The content type and the data are not among them.
pub fn binary_headers(event: &Event) -> Vec<(String, String)> {
    let mut headers = vec![
        ("ce-specversion".to_owned(), "1.0".to_owned()),
        ("ce-id".to_owned(), encode(event.id())),
        ("ce-source".to_owned(), encode(event.source())),
        ("ce-type".to_owned(), encode(event.ty())),
    ];
    let mut add = |name: &str, value: &str| headers.push((format!("ce-{name}"), encode(value)));
    if let Some(subject) = event.subject() {
        add("subject", subject);
    }
    if let Some(time) = event.time() {
        add("time", &time_text(time));
    }
    if let Some(schema) = event.dataschema() {
        add("dataschema", schema.as_str());
    }
    for (name, value) in event.iter_extensions() {
        match value {
            ExtensionValue::String(text) => add(name, text),
            ExtensionValue::Boolean(value) => add(name, if *value { "true" } else { "false" }),
            ExtensionValue::Integer(value) => add(name, &value.to_string()),
        }
    }
    headers
}

/// The event whose attributes are in `ce-` headers: their names without `ce-`, and their values as [`decode`] gives them. It
/// has no data; what the headers say of data and content type does not count, these are the body's and its header's.
pub fn event<'a>(attributes: impl IntoIterator<Item = (&'a str, String)>) -> Result<Event, EventError> {
    let mut members = Members::default();
    for (name, value) in attributes {
        if !matches!(name, "data" | "datacontenttype") {
            members.set(name, value.into());
        }
    }
    members.into_event()
}

/// Space, double quote, percent, and everything outside printable ASCII is percent-encoded.
fn encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'"' | b'%' | 0..=0x20 | 0x7f.. => out.push_str(&format!("%{byte:02X}")),
            _ => out.push(char::from(byte)),
        }
    }
    out
}

/// A header's value as text: percent-decoded, quotes of the header's own removed; `None` when it is not UTF-8.
pub fn decode(value: &[u8]) -> Option<String> {
    let value = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while at < value.len() {
        let hex = (value[at] == b'%')
            .then(|| value.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+'))) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(value[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_example_is_encoded_as_it_says() {
        assert_eq!(encode("Euro \u{20ac} \u{1f600}"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(
            decode(b"Euro%20%E2%82%AC%20%F0%9F%98%80").as_deref(),
            Some("Euro \u{20ac} \u{1f600}")
        );
        assert_eq!(decode(b"%ff"), None);
    }
}
