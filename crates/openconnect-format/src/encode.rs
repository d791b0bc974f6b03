//! Events to bytes.

use cloudevents::Event;
use openconnect_protocol::{json, payload};

use crate::codec::{Codec, Framing};
use crate::error::FormatError;
use crate::format::Format;

/// About what an event's attributes take, in bytes.
const ATTRIBUTES: usize = 256;

/// Writes records one after the other, so that a large body or object need not be in memory at once: take what `out` has
/// between two calls.
///
/// ```
/// use openconnect_format::{Encoder, Format};
/// # use cloudevents::{EventBuilder, EventBuilderV10};
/// # let event = EventBuilderV10::new().id("1").source("/s").ty("t").data("application/json", "{\n\"a\": 1}".to_owned()).build()?;
///
/// let mut out = Vec::new();
/// let mut encoder = Encoder::new(Format::JSON_LINES);
/// encoder.push(&event, &mut out)?;
/// encoder.finish(&mut out);
/// assert_eq!(out, b"{\"a\": 1}\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    records: usize,
}

impl Encoder {
    /// An encoder without a record.
    pub fn new(format: Format) -> Self {
        Self { format, records: 0 }
    }

    /// Appends one record to `out`.
    ///
    /// # Errors
    ///
    /// The event does not fit into the format; `out` is then as it was, and further events may follow.
    pub fn push(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let start = out.len();
        match (self.format.framing, self.records) {
            (Framing::Single, 1..) => return Err(FormatError::TooMany { limit: 1 }),
            (Framing::Array, 0) => out.push(b'['),
            (Framing::Array, 1..) => out.push(b','),
            _ => {}
        }
        if let Err(reason) = self.record(event, out) {
            out.truncate(start);
            return Err(FormatError::Record {
                number: self.records + 1,
                reason: reason.to_owned(),
            });
        }
        if self.format.framing == Framing::Lines {
            out.push(b'\n');
        }
        self.records += 1;
        Ok(())
    }

    /// Appends what ends the format.
    pub fn finish(self, out: &mut Vec<u8>) {
        if self.format.framing == Framing::Array {
            out.extend_from_slice(if self.records == 0 { b"[]" } else { b"]" });
        }
    }

    fn record(&self, event: &Event, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let start = out.len();
        match self.format.codec {
            Codec::CloudEvents => json::encode_into(event, out),
            Codec::Json => {
                let text = payload::json(event).ok_or("the data is not JSON")?;
                out.extend_from_slice(text.as_bytes());
            }
            Codec::Text => {
                let data = payload::bytes(event).unwrap_or_default();
                std::str::from_utf8(&data).map_err(|_| "the data is not text in UTF-8")?;
                out.extend_from_slice(&data);
            }
            Codec::Bytes => out.extend_from_slice(&payload::bytes(event).unwrap_or_default()),
        }
        match (self.format.framing, self.format.codec) {
            (Framing::Lines, Codec::Json | Codec::CloudEvents) => remove_line_ends(out, start),
            (Framing::Lines, _) if out[start..].iter().any(|byte| matches!(byte, b'\n' | b'\r')) => {
                return Err("the text has a line end, which would make two records of it");
            }
            _ => {}
        }
        Ok(())
    }
}

impl Format {
    /// The events as one body.
    ///
    /// # Errors
    ///
    /// An event does not fit into the format, or there is more than one and the framing is [`Framing::Single`].
    pub fn encode<'a>(self, events: impl IntoIterator<Item = &'a Event, IntoIter: Clone>) -> Result<Vec<u8>, FormatError> {
        let events = events.into_iter();
        let data = events.clone().filter_map(payload::bytes).map(|data| data.len() + ATTRIBUTES);
        let mut out = Vec::with_capacity(data.sum::<usize>() + 2);
        let mut encoder = Encoder::new(self);
        for event in events {
            encoder.push(event, &mut out)?;
        }
        encoder.finish(&mut out);
        Ok(out)
    }
}

/// Removes the line ends of a JSON text. They can only stand between tokens, where they mean nothing: within a string JSON has
/// them escaped.
fn remove_line_ends(out: &mut Vec<u8>, start: usize) {
    if !out[start..].iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return;
    }
    let mut kept = start;
    for at in start..out.len() {
        if !matches!(out[at], b'\n' | b'\r') {
            out[kept] = out[at];
            kept += 1;
        }
    }
    out.truncate(kept);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use cloudevents::{EventBuilder, EventBuilderV10};

    fn event(content_type: &str, data: &str) -> Event {
        let builder = EventBuilderV10::new().id("1").source("/s").ty("t");
        builder.data(content_type, data.to_owned()).build().unwrap()
    }

    fn text(format: Format, events: &[Event]) -> String {
        String::from_utf8(format.encode(events).unwrap()).unwrap()
    }

    #[test]
    fn a_record_of_json_lines_is_one_line_and_keeps_its_numbers_and_texts() {
        let data = "{\r\n  \"a\": 1.10,\n  \"b\": \"x\\n y\"\n}";
        let events = [event("application/json", data), event("application/json", "[\n]")];
        assert_eq!(text(Format::JSON_LINES, &events), "{  \"a\": 1.10,  \"b\": \"x\\n y\"}\n[]\n");
        let lines = text(Format::EVENT_LINES, &events);
        assert_eq!(lines.lines().count(), 2);
        for (line, event) in lines.lines().zip(&events) {
            let read = json::decode(line.as_bytes()).unwrap();
            let values = [&read, event].map(|event| serde_json::from_str::<serde_json::Value>(&payload::json(event).unwrap()).unwrap());
            assert_eq!(values[0], values[1]);
        }
    }

    #[test]
    fn an_event_that_does_not_fit_leaves_no_trace() {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(Format::new(Codec::Json, Framing::Array).unwrap());
        encoder.push(&event("text/plain", "no"), &mut out).unwrap_err();
        encoder.push(&event("application/json", "1"), &mut out).unwrap();
        let error = encoder.push(&event("text/plain", "no"), &mut out).unwrap_err();
        assert_eq!(error.to_string(), "record 2: the data is not JSON");
        encoder.push(&event("application/json", "2"), &mut out).unwrap();
        encoder.finish(&mut out);
        assert_eq!(out, b"[1,2]");
    }

    #[test]
    fn text_with_a_line_end_is_refused_in_lines_and_taken_alone() {
        let two = [event("text/plain", "a\nb")];
        let lines = Format::new(Codec::Text, Framing::Lines).unwrap();
        assert!(lines.encode(&two).is_err());
        assert_eq!(text(Format::new(Codec::Text, Framing::Single).unwrap(), &two), "a\nb");
    }

    #[test]
    fn one_record_stands_alone_and_an_empty_array_is_an_array() {
        let one = event("application/json", "1");
        assert_eq!(text(Format::EVENT_BATCH, &[]), "[]");
        assert_eq!(Format::EVENT.encode([&one, &one]).unwrap_err(), FormatError::TooMany { limit: 1 });
        assert!(Format::new(Codec::Bytes, Framing::Lines).is_err());
    }
}
