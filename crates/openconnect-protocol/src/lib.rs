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
        reason: String,
    },
    /// The data does not fit its encoding.
    #[error("the data can't be decoded: {0}")]
    Data(String),
}

impl EventError {
    pub(crate) fn invalid(name: &str, reason: impl ToString) -> Self {
        // The name may be anything that was sent, and comes to logs and terminals.
        let name: String = name.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        Self::Invalid {
            name,
            reason: reason.to_string(),
        }
    }
}
