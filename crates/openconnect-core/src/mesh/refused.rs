//! What the client does about a refusal, by its kind: the same over both transports.

use openconnect_protocol::refusal::RefusalKind;

use crate::codes;
use crate::failure::Failure;

const DESC: usize = 300;

/// What becomes of an event that the server refused.
pub(super) enum Consequence {
    /// It will be refused again: it is resolved with this.
    Resolve(Failure),
    /// It is sent again, over another session.
    Reconnect(Failure),
    /// It is sent again, later; this is the server's reason.
    Wait(String),
}

/// A publish was refused.
pub(super) fn publish(kind: RefusalKind, server: &str, desc: &str) -> Consequence {
    let desc = shorten(desc);
    match kind {
        RefusalKind::TooLarge => {
            let text = format!(
                "the event is larger than {server} takes: {desc}. EventMesh's setting is eventMesh.server.maxEventSize (default 1000 characters), openconnect-mesh's is limits.max_event_bytes"
            );
            Consequence::Resolve(Failure::permanent(codes::TOO_LARGE_FOR_MESH, text))
        }
        RefusalKind::Denied => Consequence::Resolve(Failure::permanent(
            codes::NOT_ALLOWED,
            format!("{server} does not allow it: {desc}"),
        )),
        RefusalKind::Invalid => Consequence::Resolve(Failure::permanent(
            codes::EVENT_REFUSED,
            format!("{server} can't take the event: {desc}"),
        )),
        RefusalKind::Session => Consequence::Reconnect(Failure::retryable(codes::SENT_AWAY, format!("{server} refused an event: {desc}"))),
        RefusalKind::Busy | RefusalKind::Unknown => Consequence::Wait(desc),
    }
}

/// A session was refused: HELLO, or the heartbeat that opens one over gRPC. A reason that no wait mends ends the connector.
pub(super) fn session(kind: RefusalKind, server: &str, desc: &str) -> Failure {
    let text = format!("{server} refused the session: {}", shorten(desc));
    match kind {
        RefusalKind::Denied => Failure::fatal(
            codes::SESSION_REFUSED,
            format!("{text}. Check mesh.username, mesh.password, mesh.token and the group's rights"),
        ),
        RefusalKind::Invalid | RefusalKind::TooLarge => Failure::fatal(codes::SESSION_REFUSED, format!("{text}. Check mesh.group")),
        RefusalKind::Busy | RefusalKind::Session => Failure::retryable(codes::SESSION_REFUSED, text),
        RefusalKind::Unknown => Failure::retryable(codes::SESSION_REFUSED, format!("{text}. The server's own log tells why")),
    }
}

/// A subscription was refused.
pub(super) fn subscription(kind: RefusalKind, server: &str, topic: &str, desc: &str) -> Failure {
    let text = format!("{server} refused to subscribe to `{topic}`: {}", shorten(desc));
    if kind.may_pass() {
        Failure::retryable(codes::SUBSCRIPTION_REFUSED, text)
    } else {
        Failure::fatal(codes::SUBSCRIPTION_REFUSED, text)
    }
}

/// A server's text can be a whole stack trace.
pub(crate) fn shorten(desc: &str) -> String {
    desc.chars().take(DESC).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
