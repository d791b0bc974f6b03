//! Headers of frames, written by hand: serde is too slow for frames that come by the hundred thousand.

use bytes::BytesMut;
use openconnect_protocol::extension::REFUSAL;
use openconnect_protocol::frame::{self, Command};

use crate::convert::json_text;
use crate::refusal::Refusal;

/// A header as Java writes it, with the properties given as JSON.
pub(crate) fn header(cmd: Command, code: i32, desc: Option<&str>, seq: &str, properties: &[(&str, &str)]) -> BytesMut {
    let mut out = BytesMut::with_capacity(192);
    out.extend_from_slice(b"{\"cmd\":\"");
    out.extend_from_slice(cmd.name().as_bytes());
    out.extend_from_slice(b"\",\"code\":");
    out.extend_from_slice(if code == 0 { b"0" } else { b"1" });
    if let Some(desc) = desc {
        out.extend_from_slice(b",\"desc\":");
        json_text(desc, &mut out);
    }
    if !seq.is_empty() {
        out.extend_from_slice(b",\"seq\":");
        json_text(seq, &mut out);
    }
    out.extend_from_slice(b",\"properties\":{");
    for (at, (name, value)) in properties.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b",");
        }
        json_text(name, &mut out);
        out.extend_from_slice(b":");
        json_text(value, &mut out);
    }
    out.extend_from_slice(b"},\"command\":\"");
    out.extend_from_slice(cmd.name().as_bytes());
    out.extend_from_slice(b"\"}");
    out
}

/// Appends an answer without a body.
pub(crate) fn answer(cmd: Command, code: i32, desc: &str, seq: &str, out: &mut BytesMut) {
    append(&header(cmd, code, Some(desc), seq, &[]), b"", out);
}

/// Appends a refusal: code 1 as EventMesh gives it, and its kind in a property.
pub(crate) fn refusal(cmd: Command, refusal: &Refusal, seq: &str, out: &mut BytesMut) {
    let kind = [(REFUSAL, refusal.kind.name())];
    append(&header(cmd, 1, Some(&refusal.reason), seq, &kind), b"", out);
}

pub(crate) fn append(header: &[u8], body: &[u8], out: &mut BytesMut) {
    if let Err(error) = frame::encode_raw(header, body, out) {
        tracing::error!(%error, "a frame could not be written");
    }
}
