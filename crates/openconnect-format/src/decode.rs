//! Bytes to records.

use cloudevents::Event;
use openconnect_protocol::json;
use serde_json::value::RawValue;

use crate::codec::{Codec, Framing};
use crate::error::FormatError;
use crate::format::Format;

/// What a decoded body may have.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most records. The bytes are bounded by the caller, who has them.
    pub records: usize,
}

/// One decoded record.
#[derive(Debug, Clone, PartialEq)]
pub enum Record<'a> {
    /// A whole event.
    Event(Box<Event>),
    /// The data of an event, checked to be what the codec says.
    Data(&'a [u8]),
}

impl Format {
    /// The records of a body, in their order. Empty lines are skipped.
    ///
    /// # Errors
    ///
    /// A record is not of the codec, or there are more than `limits` allows: nothing of the body is then used.
    pub fn decode<'a>(self, bytes: &'a [u8], limits: &Limits) -> Result<Vec<Record<'a>>, FormatError> {
        let records = match self.framing {
            Framing::Single => vec![self.record(bytes, 1)?],
            Framing::Lines => {
                let lines = bytes.split(|byte| *byte == b'\n').zip(1..);
                let lines = lines
                    .map(|(line, number)| (line.trim_ascii(), number))
                    .filter(|(line, _)| !line.is_empty());
                let lines = lines.take(limits.records.saturating_add(1));
                lines.map(|(line, number)| self.record(line, number)).collect::<Result<_, _>>()?
            }
            Framing::Array => {
                if self.codec == Codec::CloudEvents
                    && let Ok(events) = json::decode_batch(bytes)
                {
                    return within(limits, events.into_iter().map(|event| Record::Event(Box::new(event))).collect());
                }
                // Element by element, so that an error says which one is wrong.
                let elements: Vec<&RawValue> =
                    serde_json::from_slice(bytes).map_err(|e| FormatError::Malformed(format!("not a JSON array: {}", position(&e))))?;
                let elements = elements.into_iter().zip(1..);
                elements
                    .map(|(element, number)| self.record(element.get().as_bytes(), number))
                    .collect::<Result<_, _>>()?
            }
        };
        within(limits, records)
    }

    fn record(self, bytes: &[u8], number: usize) -> Result<Record<'_>, FormatError> {
        let wrong = |reason: String| match self.framing {
            Framing::Single => FormatError::Malformed(reason),
            Framing::Lines | Framing::Array => FormatError::Record { number, reason },
        };
        match self.codec {
            Codec::CloudEvents => {
                return json::decode(bytes)
                    .map(|event| Record::Event(Box::new(event)))
                    .map_err(|e| wrong(e.to_string()));
            }
            Codec::Json => {
                serde_json::from_slice::<&RawValue>(bytes).map_err(|e| wrong(format!("not JSON in UTF-8: {}", position(&e))))?;
            }
            Codec::Text => {
                std::str::from_utf8(bytes).map_err(|e| wrong(format!("not text in UTF-8, from byte {} on", e.valid_up_to())))?;
            }
            Codec::Bytes => {}
        }
        Ok(Record::Data(bytes))
    }
}

fn within<'a>(limits: &Limits, records: Vec<Record<'a>>) -> Result<Vec<Record<'a>>, FormatError> {
    match records.len() > limits.records {
        true => Err(FormatError::TooMany { limit: limits.records }),
        false => Ok(records),
    }
}

/// Where a JSON text is wrong; the error's own text may repeat data.
fn position(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use cloudevents::AttributesReader as _;
    use openconnect_protocol::payload;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { records: 3 };

    #[test]
    fn a_wrong_record_is_named_by_its_line() {
        let error = Format::JSON_LINES.decode(b"1\n\n{\"secret\"\n", &LIMITS).unwrap_err();
        assert_eq!(error.to_string(), "record 3: not JSON in UTF-8: line 1, column 9");
        let error = Format::EVENT_BATCH.decode(b"[{}]", &LIMITS).unwrap_err();
        assert!(matches!(error, FormatError::Record { number: 1, .. }), "{error}");
    }

    #[test]
    fn more_records_than_the_limit_are_refused() {
        let array = Format::new(Codec::Json, Framing::Array).unwrap();
        for (format, fits, over) in [(Format::JSON_LINES, "1\n2\n3", "1\n2\n3\n4"), (array, "[1,2,3]", "[1,2,3,4]")] {
            assert_eq!(format.decode(fits.as_bytes(), &LIMITS).unwrap().len(), 3);
            assert_eq!(
                format.decode(over.as_bytes(), &LIMITS).unwrap_err(),
                FormatError::TooMany { limit: 3 }
            );
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_refused_as_text_and_taken_as_bytes() {
        let decode = |codec| {
            Format::new(codec, Framing::Single)
                .unwrap()
                .decode(b"\xff", &LIMITS)
                .map(|records| records.len())
        };
        assert!(decode(Codec::Text).is_err());
        assert_eq!(decode(Codec::Bytes), Ok(1));
    }

    proptest! {
        /// Whatever the JSON looks like, its event is read back from each format with the same data.
        #[test]
        fn events_survive_every_framing(numbers in proptest::collection::vec((any::<i64>(), "[ -~\n\r\t\"]{0,20}"), 0..4)) {
            let data: Vec<String> = numbers
                .iter()
                .map(|(number, text)| format!("{{\n \"n\": {number},\r\n \"t\": {} }}", serde_json::Value::from(text.as_str())))
                .collect();
            let events: Vec<Event> = data.iter().zip(1..).map(|(data, id)| event(&id.to_string(), data)).collect();
            for format in [Format::EVENT_BATCH, Format::EVENT_LINES] {
                let bytes = format.encode(&events).unwrap();
                let read = format.decode(&bytes, &Limits { records: 4 }).unwrap();
                prop_assert_eq!(read.len(), events.len());
                for (record, event) in read.iter().zip(&events) {
                    let Record::Event(read) = record else { panic!("{record:?}") };
                    prop_assert_eq!(read.id(), event.id());
                    prop_assert_eq!(value(read), value(event));
                }
            }
        }
    }

    fn event(id: &str, data: &str) -> Event {
        use cloudevents::{EventBuilder, EventBuilderV10};
        let builder = EventBuilderV10::new().id(id).source("/s").ty("t");
        builder.data("application/json", data.to_owned()).build().unwrap()
    }

    fn value(event: &Event) -> serde_json::Value {
        serde_json::from_str(&payload::json(event).unwrap()).unwrap()
    }
}
