//! Log records in the protocol of OpenTelemetry, as protobuf: events for a peer that takes nothing else.

use crate::http::Encoded;
use crate::run::Setup;

/// A request of as many log records as a batch has events: the data is the body, the attributes are attributes.
pub(crate) fn log_records(setup: &Setup) -> Encoded {
    let data = setup.data();
    // ExportLogsServiceRequest, ResourceLogs, ScopeLogs, LogRecord; the numbers are those of their fields.
    let records = (0..setup.batch).flat_map(|number| field(2, &record(&number.to_string(), &data)));
    let body = field(1, &field(2, &records.collect::<Vec<u8>>()));
    Encoded {
        head: "Content-Type: application/x-protobuf\r\n",
        body,
    }
}

fn record(id: &str, data: &str) -> Vec<u8> {
    let mut record = field(5, &field(1, data.as_bytes()));
    for (key, value) in [("specversion", "1.0"), ("id", id), ("source", "/bench"), ("type", "bench")] {
        let value = field(2, &field(1, value.as_bytes()));
        record.extend(field(6, &[field(1, key.as_bytes()), value].concat()));
    }
    record
}

/// A field of bytes: its tag, its length, itself.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}
