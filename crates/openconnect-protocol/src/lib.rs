//! EventMesh's wire formats, and CloudEvents to and from them. No input or output happens here.
//!
//! | module | what is in it |
//! |---|---|
//! | [`frame`] | TCP frames: header and body, an incremental bounded codec, the commands |
//! | [`session`] | the bodies of the TCP session commands: user agent, subscription, redirect |
//! | [`extension`] | what this project adds to the protocol, named by both sides |
//! | [`json`] | CloudEvents' own JSON format, one event and batches |
//! | `members` | the members of an event in JSON, before they mean anything |
//! | [`wire`] | an event as the mesh carries it in JSON: topic as subject, content that survives the server |
//! | [`http`] | binary mode of CloudEvents' HTTP binding: headers |
//! | [`grpc`] | the gRPC messages and services, events to and from them |
//! | [`refusal`] | what a server's refusal means: codes, texts |
//! | [`check`] | whether an event can be written so that it is read back |
//! | [`payload`] | an event's data: bytes, interpreted by their content type |
//! | [`names`] | what may be the name of a topic or a group |
//! | [`attributes`] | the rules for attribute names, and the names that belong to the mesh |

pub mod attributes;
pub mod extension;
pub mod frame;
pub mod grpc;
pub mod http;
pub mod json;
mod members;
pub mod names;
pub mod payload;
pub mod refusal;
pub mod session;
pub mod wire;
mod writable;

pub use cloudevents::Event;
pub use writable::check;

/// Why bytes are no event, or an event can't be carried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// Not JSON, or not an object.
    #[error("not a JSON event: {0}")]
    Json(#[from] serde_json::Error),
    /// A required attribute is absent or empty.
    #[error("the attribute `{0}` is missing or empty")]
    Missing(&'static str),
    /// An attribute has a value that its type does not allow.
    #[error("the attribute `{name}` is invalid: {reason}")]
    Invalid {
        /// The attribute.
        name: String,
        /// What is wrong with it.
        #[source]
        reason: BoxError,
    },
    /// The data does not fit its encoding.
    #[error("the data can't be decoded: {0}")]
    Data(#[source] BoxError),
    /// The data is not base64.
    #[error("the data can't be decoded: not base64: {0}")]
    Base64(#[source] BoxError),
}

/// What an error came from: another error, or a text.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl EventError {
    pub(crate) fn invalid(name: &str, reason: impl Into<BoxError>) -> Self {
        // The name may be anything that was sent, and comes to logs and terminals.
        let name = name.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        let reason = reason.into();
        Self::Invalid { name, reason }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::error::Error as _;

    use super::*;

    #[test]
    fn errors_keep_what_they_came_from() {
        let event = |member: &str| format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t",{member}}}"#);
        let wrong_time = json::decode(event(r#""time":"today""#).as_bytes()).unwrap_err();
        assert!(wrong_time.source().unwrap().is::<chrono::ParseError>(), "{wrong_time:?}");
        let wrong_data = json::decode(event(r#""data_base64":"?""#).as_bytes()).unwrap_err();
        let cause = wrong_data.source().unwrap();
        assert!(cause.is::<base64::DecodeError>(), "{wrong_data:?}");
        assert_eq!(wrong_data.to_string(), format!("the data can't be decoded: not base64: {cause}"));
        let (header, body) = (bytes::Bytes::from_static(b"no JSON"), bytes::Bytes::new());
        let wrong_header = frame::RawFrame { header, body }.parse().unwrap_err();
        assert!(wrong_header.source().unwrap().is::<serde_json::Error>(), "{wrong_header:?}");
    }
}
