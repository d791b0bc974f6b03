//! TCP frames (`Codec.java` of EventMesh 1.x): magic, version, two lengths, JSON header, body.
//!
//! The package length does not count the two length fields: a whole frame is `length + 8` bytes.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Deserializer, Serialize};
use tokio_util::codec::{Decoder, Encoder};

use crate::BoxError;

const MAGIC: &[u8; 13] = b"EventMesh0000";
/// Bytes before the header: magic, version and the two lengths.
pub const PREFIX: usize = 21;
/// Room is made for this many bytes of an incomplete frame beyond what is there.
const GROWTH: usize = 64 << 10;
/// The largest frame that EventMesh 1.x takes.
pub const EVENTMESH_MAX_FRAME: usize = 4 << 20;

macro_rules! commands {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// The commands, by their name on the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[allow(missing_docs)]
        pub enum Command { $(#[serde(rename = $name)] $variant),+ }

        impl Command {
            /// Every command.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The command of this name; `None` for a name that EventMesh 1.x does not have.
            pub fn named(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

commands! {
    HeartbeatRequest = "HEARTBEAT_REQUEST",
    HeartbeatResponse = "HEARTBEAT_RESPONSE",
    HelloRequest = "HELLO_REQUEST",
    HelloResponse = "HELLO_RESPONSE",
    ClientGoodbyeRequest = "CLIENT_GOODBYE_REQUEST",
    ClientGoodbyeResponse = "CLIENT_GOODBYE_RESPONSE",
    ServerGoodbyeRequest = "SERVER_GOODBYE_REQUEST",
    ServerGoodbyeResponse = "SERVER_GOODBYE_RESPONSE",
    SubscribeRequest = "SUBSCRIBE_REQUEST",
    SubscribeResponse = "SUBSCRIBE_RESPONSE",
    UnsubscribeRequest = "UNSUBSCRIBE_REQUEST",
    UnsubscribeResponse = "UNSUBSCRIBE_RESPONSE",
    ListenRequest = "LISTEN_REQUEST",
    ListenResponse = "LISTEN_RESPONSE",
    RequestToServer = "REQUEST_TO_SERVER",
    RequestToClient = "REQUEST_TO_CLIENT",
    RequestToClientAck = "REQUEST_TO_CLIENT_ACK",
    ResponseToServer = "RESPONSE_TO_SERVER",
    ResponseToClient = "RESPONSE_TO_CLIENT",
    ResponseToClientAck = "RESPONSE_TO_CLIENT_ACK",
    AsyncMessageToServer = "ASYNC_MESSAGE_TO_SERVER",
    AsyncMessageToServerAck = "ASYNC_MESSAGE_TO_SERVER_ACK",
    AsyncMessageToClient = "ASYNC_MESSAGE_TO_CLIENT",
    AsyncMessageToClientAck = "ASYNC_MESSAGE_TO_CLIENT_ACK",
    BroadcastMessageToServer = "BROADCAST_MESSAGE_TO_SERVER",
    BroadcastMessageToServerAck = "BROADCAST_MESSAGE_TO_SERVER_ACK",
    BroadcastMessageToClient = "BROADCAST_MESSAGE_TO_CLIENT",
    BroadcastMessageToClientAck = "BROADCAST_MESSAGE_TO_CLIENT_ACK",
    SysLogToLogserver = "SYS_LOG_TO_LOGSERVER",
    TraceLogToLogserver = "TRACE_LOG_TO_LOGSERVER",
    RedirectToClient = "REDIRECT_TO_CLIENT",
    RegisterRequest = "REGISTER_REQUEST",
    RegisterResponse = "REGISTER_RESPONSE",
    UnregisterRequest = "UNREGISTER_REQUEST",
    UnregisterResponse = "UNREGISTER_RESPONSE",
    RecommendRequest = "RECOMMEND_REQUEST",
    RecommendResponse = "RECOMMEND_RESPONSE",
}

impl Command {
    /// The command that answers this one, where one exists.
    pub fn reply(self) -> Option<Self> {
        Some(match self {
            Self::HeartbeatRequest => Self::HeartbeatResponse,
            Self::HelloRequest => Self::HelloResponse,
            Self::ClientGoodbyeRequest => Self::ClientGoodbyeResponse,
            Self::ServerGoodbyeRequest => Self::ServerGoodbyeResponse,
            Self::SubscribeRequest => Self::SubscribeResponse,
            Self::UnsubscribeRequest => Self::UnsubscribeResponse,
            Self::ListenRequest => Self::ListenResponse,
            Self::RequestToServer => Self::ResponseToClient,
            Self::RequestToClient => Self::RequestToClientAck,
            Self::ResponseToClient => Self::ResponseToClientAck,
            Self::AsyncMessageToServer => Self::AsyncMessageToServerAck,
            Self::AsyncMessageToClient => Self::AsyncMessageToClientAck,
            Self::BroadcastMessageToServer => Self::BroadcastMessageToServerAck,
            Self::BroadcastMessageToClient => Self::BroadcastMessageToClientAck,
            Self::RecommendRequest => Self::RecommendResponse,
            _ => return None,
        })
    }
}

/// A frame's header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The command.
    pub cmd: Command,
    /// 0 on requests and success.
    #[serde(default)]
    pub code: i32,
    /// Result text; can be a whole Java stack trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desc: Option<String>,
    /// Correlates an answer with its request. Empty when absent on the wire.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub seq: String,
    /// Protocol properties.
    #[serde(default, deserialize_with = "nullable")]
    pub properties: BTreeMap<String, serde_json::Value>,
}

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Header {
    /// A request header: code 0, no properties.
    pub fn new(cmd: Command, seq: impl Into<String>) -> Self {
        Self {
            cmd,
            code: 0,
            desc: None,
            seq: seq.into(),
            properties: BTreeMap::new(),
        }
    }

    /// An answer: this code and text.
    pub fn answer(cmd: Command, seq: impl Into<String>, code: i32, desc: impl Into<String>) -> Self {
        Self {
            cmd,
            code,
            desc: Some(desc.into()),
            seq: seq.into(),
            properties: BTreeMap::new(),
        }
    }

    /// Adds a text property.
    pub fn with_property(mut self, name: &str, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), serde_json::Value::String(value.into()));
        self
    }

    /// A text property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name)?.as_str()
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The header.
    pub header: Header,
    /// The body's bytes; empty when there is none.
    pub body: Bytes,
}

/// A frame whose header is still bytes: for loops that look at thousands of frames.
#[derive(Debug, Clone, PartialEq)]
pub struct RawFrame {
    /// The header's JSON.
    pub header: Bytes,
    /// The body's bytes.
    pub body: Bytes,
}

impl RawFrame {
    /// Parses the header.
    pub fn parse(self) -> Result<Frame, FrameError> {
        if self.header.is_empty() {
            return Err(FrameError::Header("the frame has no header".into()));
        }
        let header = serde_json::from_slice(&self.header).map_err(|e| FrameError::Header(e.into()))?;
        Ok(Frame { header, body: self.body })
    }
}

/// Why a byte stream is not one of frames. The connection can't be used any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The first bytes are not EventMesh's.
    #[error("not an EventMesh frame: it does not start with `EventMesh0000`")]
    Magic,
    /// The lengths contradict each other.
    #[error("the frame's lengths are impossible: package {package}, header {header}")]
    Lengths {
        /// Package length on the wire.
        package: i32,
        /// Header length on the wire.
        header: i32,
    },
    /// Larger than allowed here.
    #[error("a frame of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Whole frame.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The header is not the JSON that it must be.
    #[error("the frame's header can't be read: {0}")]
    Header(#[source] BoxError),
    /// The stream failed or ended inside a frame.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Incremental and bounded: holds at most one incomplete frame of `max_frame` bytes.
#[derive(Debug, Clone, Copy)]
pub struct FrameCodec {
    max_frame: usize,
}

impl FrameCodec {
    /// A codec that refuses frames (whole, with their prefix) larger than `max_frame`.
    pub fn new(max_frame: usize) -> Self {
        Self { max_frame }
    }

    /// The next complete frame of `src`, its header unparsed; `None` when more bytes are needed. Refuses as soon as the
    /// first bytes can't be a frame.
    pub fn decode_raw(&self, src: &mut BytesMut) -> Result<Option<RawFrame>, FrameError> {
        let have = src.len().min(MAGIC.len());
        if src[..have] != MAGIC[..have] {
            return Err(FrameError::Magic);
        }
        if src.len() < PREFIX {
            return Ok(None);
        }
        let package = i32::from_be_bytes([src[13], src[14], src[15], src[16]]);
        let header = i32::from_be_bytes([src[17], src[18], src[19], src[20]]);
        let impossible = FrameError::Lengths { package, header };
        let (Ok(package), Ok(header)) = (usize::try_from(package), usize::try_from(header)) else {
            return Err(impossible);
        };
        if package < MAGIC.len() || header > package - MAGIC.len() {
            return Err(impossible);
        }
        let size = package + 8;
        if size > self.max_frame {
            return Err(FrameError::TooLarge {
                size,
                limit: self.max_frame,
            });
        }
        if src.len() < size {
            // Not all at once: a peer may only claim to send so much.
            src.reserve((size - src.len()).min(GROWTH));
            return Ok(None);
        }
        let mut frame = src.split_to(size).freeze();
        frame.advance(PREFIX);
        let header = frame.split_to(header);
        Ok(Some(RawFrame { header, body: frame }))
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        self.decode_raw(src)?.map(RawFrame::parse).transpose()
    }
}

impl Encoder<&Frame> for FrameCodec {
    type Error = FrameError;

    fn encode(&mut self, frame: &Frame, dst: &mut BytesMut) -> Result<(), FrameError> {
        let start = dst.len();
        encode(&frame.header, &frame.body, dst)?;
        let size = dst.len() - start;
        if size > self.max_frame {
            dst.truncate(start);
            return Err(FrameError::TooLarge {
                size,
                limit: self.max_frame,
            });
        }
        Ok(())
    }
}

impl Encoder<Frame> for FrameCodec {
    type Error = FrameError;

    fn encode(&mut self, frame: Frame, dst: &mut BytesMut) -> Result<(), FrameError> {
        Encoder::<&Frame>::encode(self, &frame, dst)
    }
}

/// Appends one frame, without a size limit of its own (lengths over `i32::MAX` are refused).
pub fn encode(header: &Header, body: &[u8], dst: &mut BytesMut) -> Result<(), FrameError> {
    let header = serde_json::to_vec(header).map_err(|e| FrameError::Header(e.into()))?;
    encode_raw(&header, body, dst)
}

/// Appends one frame whose header is JSON already.
pub fn encode_raw(header: &[u8], body: &[u8], dst: &mut BytesMut) -> Result<(), FrameError> {
    let package = MAGIC.len() + header.len() + body.len();
    let too_large = || FrameError::TooLarge {
        size: package + 8,
        limit: i32::MAX as usize,
    };
    let (Ok(length), Ok(header_length)) = (i32::try_from(package), i32::try_from(header.len())) else {
        return Err(too_large());
    };
    dst.reserve(package + 8);
    dst.put_slice(MAGIC);
    dst.put_i32(length);
    dst.put_i32(header_length);
    dst.put_slice(header);
    dst.put_slice(body);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn heartbeat_has_the_length_of_the_published_vector() {
        let mut out = BytesMut::new();
        let header = br#"{"cmd":"HEARTBEAT_REQUEST","code":0,"seq":"0123456789","properties":{}}"#;
        encode_raw(header, b"", &mut out).unwrap();
        assert_eq!(out.len(), 92);
        assert_eq!(&out[..21], b"EventMesh0000\0\0\0\x54\0\0\0\x47");
        let mut again = BytesMut::new();
        encode(&Header::new(Command::HeartbeatRequest, "0123456789"), b"", &mut again).unwrap();
        assert_eq!(out, again);
    }

    #[test]
    fn garbage_is_refused_at_its_first_byte() {
        let mut src = BytesMut::from(&b"GET"[..]);
        assert!(matches!(FrameCodec::new(1000).decode(&mut src), Err(FrameError::Magic)));
    }

    #[test]
    fn a_header_longer_than_its_package_is_refused() {
        let mut src = BytesMut::from(&b"EventMesh0000\0\0\0\x20\0\0\0\x47"[..]);
        assert!(matches!(FrameCodec::new(1000).decode(&mut src), Err(FrameError::Lengths { .. })));
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_it_is_read() {
        let mut src = BytesMut::from(&b"EventMesh0000\x7f\0\0\0\0\0\0\x47"[..]);
        assert!(matches!(FrameCodec::new(1000).decode(&mut src), Err(FrameError::TooLarge { .. })));
    }
}
