//! What this project adds to EventMesh's protocol. Client and mesh name what they can in HELLO (TCP) or in the attributes of a call
//! (gRPC); EventMesh 1.x ignores names that it does not know, so that each side falls back to the plain protocol.
//!
//! All names are properties of a TCP header, or attributes of a gRPC message.

use std::borrow::Cow;

use serde::Deserialize;

/// Value of a capability that is there.
pub const TRUE: &str = "true";

/// The server's name and version, for people.
pub const SERVER: &str = "openconnectserver";
/// Server: an event that was not acknowledged is delivered again. Value [`TRUE`].
pub const REDELIVERS: &str = "openconnectredelivers";
/// Server: after a refusal it takes nothing more from that connection until the client has reacted, so that a window of several
/// events keeps their order. Value [`TRUE`].
pub const ORDERED_REFUSAL: &str = "openconnectorderedrefusal";
/// Server: a batch that was answered is durable as a whole (gRPC). Value [`TRUE`].
pub const DURABLE_BATCH: &str = "openconnectdurablebatch";
/// Server: the largest event that it takes, in bytes.
pub const MAX_EVENT_BYTES: &str = "openconnectmaxeventbytes";

/// Client: it acknowledges on the stream of its subscription (gRPC). Value [`TRUE`].
pub const ACKNOWLEDGES: &str = "openconnectack";
/// Client: it holds events that it has not acknowledged for as long as its target needs; the server does not deliver them again
/// while the session lives. Value [`TRUE`].
pub const HOLDS: &str = "openconnectholds";
/// Number of a delivery, which its acknowledgement names; several are separated by commas (gRPC).
pub const SEQ: &str = "openconnectseq";
/// How often this event has been delivered to the group, this time included.
pub const ATTEMPT: &str = "openconnectattempt";
/// What kind of refusal an answer is: a name of [`crate::refusal`].
pub const REFUSAL: &str = "openconnectrefusal";

/// Both sides: with the value [`MANY`] on a frame, its body is a JSON array of sequence numbers (texts), and all of these are
/// acknowledged (TCP).
pub const ACKS: &str = "openconnectacks";
/// Value of [`ACKS`].
pub const MANY: &str = "many";
/// Client, with the value [`NONE`]: the server adds nothing to a delivery that describes the way it took (`rsp0group`,
/// `reqeventmesh2ctimestamp` and so on).
pub const STAMPS: &str = "openconnectstamps";
/// Value of [`STAMPS`].
pub const NONE: &str = "none";

/// The sequence numbers in the body of a frame with [`ACKS`].
///
/// # Errors
///
/// The body is not a JSON array of texts.
pub fn acknowledged(body: &[u8]) -> Result<Vec<Cow<'_, str>>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Seq<'a>(#[serde(borrow)] Cow<'a, str>);
    let seqs: Vec<Seq<'_>> = serde_json::from_slice(body)?;
    Ok(seqs.into_iter().map(|seq| seq.0).collect())
}
