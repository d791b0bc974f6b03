//! What a refusal means: the one place that knows EventMesh's codes and texts.
//!
//! EventMesh 1.x answers nearly every refusal over TCP with code 1 and the text of a Java exception, a refused HELLO even
//! with a stack trace that has lost the text; over gRPC it gives better codes. `openconnect-mesh` adds [`REFUSAL`] to its
//! answers, which leaves nothing to guess and goes before everything else.

use crate::extension::REFUSAL;
use crate::grpc::{StatusCode, attr, pb};

/// What kind of refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// Full, overloaded, or the storage failed: the same request may succeed later.
    Busy,
    /// The session is of no use: unknown, expired, closing, or the server starts or stops. Another one may do.
    Session,
    /// The event is larger than the server takes.
    TooLarge,
    /// The user, the password, the token or their rights do not suffice.
    Denied,
    /// The server can't take what was sent; the same will be refused again.
    Invalid,
    /// Nothing is known about this refusal: trying again harms nobody.
    Unknown,
}

/// The kinds by their name on the wire.
const NAMES: [(RefusalKind, &str); 6] = [
    (RefusalKind::Busy, "busy"),
    (RefusalKind::Session, "session"),
    (RefusalKind::TooLarge, "too-large"),
    (RefusalKind::Denied, "denied"),
    (RefusalKind::Invalid, "invalid"),
    (RefusalKind::Unknown, "unknown"),
];

/// The codes of TCP answers that say more than that something failed (`OPStatus.java`); EventMesh 1.x has them, but sends 1.
const TCP_CODES: [(i32, RefusalKind); 2] = [(2, RefusalKind::Denied), (3, RefusalKind::Busy)];

/// The codes of gRPC answers (`StatusCode.java`).
const GRPC_CODES: [(i32, RefusalKind); 21] = [
    (1, RefusalKind::Busy),
    (2, RefusalKind::Invalid),
    (3, RefusalKind::Invalid),
    (4, RefusalKind::Invalid),
    (6, RefusalKind::Invalid),
    (7, RefusalKind::Invalid),
    (8, RefusalKind::Session),
    (9, RefusalKind::Denied),
    (10, RefusalKind::Busy),
    (11, RefusalKind::Busy),
    (12, RefusalKind::Busy),
    (13, RefusalKind::Busy),
    (14, RefusalKind::Busy),
    (15, RefusalKind::Busy),
    (16, RefusalKind::Busy),
    (17, RefusalKind::Busy),
    (18, RefusalKind::Busy),
    (19, RefusalKind::Busy),
    (20, RefusalKind::Denied),
    (21, RefusalKind::Busy),
    (30, RefusalKind::Session),
];

/// Fragments of EventMesh's texts, the first that matches counts. Beside each: where the server says so, or that it was
/// recorded from a running server.
const TEXTS: [(&str, RefusalKind); 24] = [
    // MessageTransferProcessor.java:130; recorded.
    ("event size exceeds the limit", RefusalKind::TooLarge),
    // MessageTransferProcessor.java:142.
    ("Tps overload", RefusalKind::Busy),
    // SessionSender.java:145.
    ("SEND_TOO_FAST", RefusalKind::Busy),
    // AbstractTCPServer.java:275, a full queue of tasks.
    ("RejectedExecutionException", RefusalKind::Busy),
    // Recorded: standalone storage has no such topic while nobody subscribes to it.
    ("StorageRuntimeException", RefusalKind::Busy),
    // AbstractTCPServer.java:261; recorded.
    ("no session is found", RefusalKind::Session),
    // AbstractTCPServer.java:266.
    ("session will be closed", RefusalKind::Session),
    // MessageTransferProcessor.java:127.
    ("server state is not running", RefusalKind::Session),
    // Recorded: SUBSCRIBE after the group's consumer has gone.
    ("\"this.consumer\" is null", RefusalKind::Session),
    // Acl.java; AuthTokenUtils.java:47; HelloProcessor.java:75.
    ("AclException", RefusalKind::Denied),
    ("no group register", RefusalKind::Denied),
    ("has no auth", RefusalKind::Denied),
    ("invalid token", RefusalKind::Denied),
    // The same in a refused HELLO: frames of the stack without the text.
    ("eventmesh.runtime.acl.", RefusalKind::Denied),
    ("eventmesh.auth.", RefusalKind::Denied),
    // HelloProcessor.java:112, with its text, and as it was recorded.
    ("cannot be null", RefusalKind::Invalid),
    ("client purpose config", RefusalKind::Invalid),
    ("HelloProcessor.validateUserAgent", RefusalKind::Invalid),
    // MessageTransferProcessor.java:117; TcpMessageProtocolResolver.java:44; recorded.
    ("Unsupported protocol", RefusalKind::Invalid),
    ("invalid protocol params", RefusalKind::Invalid),
    ("Cannot find the Protocol adaptor", RefusalKind::Invalid),
    // Recorded: events that are none, attributes with wrong names or types, nothing where something must be.
    ("EventDeserializationException", RefusalKind::Invalid),
    ("CloudEventRWException", RefusalKind::Invalid),
    ("NullPointerException", RefusalKind::Invalid),
];

impl RefusalKind {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(kind, _)| *kind == self).map_or("unknown", |(_, name)| *name)
    }

    /// May the same request succeed later, here or elsewhere?
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Busy | Self::Session | Self::Unknown)
    }

    /// The kind of an answer over TCP whose code is not 0: `told` is its [`REFUSAL`], `desc` its text.
    pub fn of_tcp(told: Option<&str>, code: i32, desc: &str) -> Self {
        named(told)
            .or_else(|| find(&TCP_CODES, code))
            .or_else(|| TEXTS.iter().find(|(text, _)| desc.contains(text)).map(|(_, kind)| *kind))
            .unwrap_or(Self::Unknown)
    }

    /// The kind of an answer over gRPC that is no success: by its [`REFUSAL`], else by its code.
    pub fn of_grpc(answer: &pb::CloudEvent) -> Self {
        named(attr(answer, REFUSAL)).unwrap_or_else(|| StatusCode::of(answer).map_or(Self::Unknown, Self::of_status))
    }

    /// The kind that a gRPC code tells.
    pub fn of_status(code: StatusCode) -> Self {
        find(&GRPC_CODES, code.0).unwrap_or(Self::Unknown)
    }
}

fn named(told: Option<&str>) -> Option<RefusalKind> {
    let told = told?;
    NAMES.iter().find(|(_, name)| *name == told).map(|(kind, _)| *kind)
}

fn find(codes: &[(i32, RefusalKind)], code: i32) -> Option<RefusalKind> {
    codes.iter().find(|(known, _)| *known == code).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::REFUSAL;
    use crate::grpc::{keys, set_attr};

    #[test]
    fn what_the_mesh_names_goes_before_code_and_text() {
        for (kind, name) in NAMES {
            assert_eq!(RefusalKind::of_tcp(Some(name), 2, "no session is found"), kind);
            assert_eq!(kind.name(), name);
            let mut answer = pb::CloudEvent::default();
            set_attr(&mut answer, keys::STATUS_CODE, "20");
            set_attr(&mut answer, REFUSAL, name);
            assert_eq!(RefusalKind::of_grpc(&answer), kind);
        }
        assert_eq!(RefusalKind::of_tcp(Some("of a later version"), 3, ""), RefusalKind::Busy);
    }

    #[test]
    fn a_telling_code_goes_before_the_text() {
        assert_eq!(RefusalKind::of_tcp(None, 2, "aclFail"), RefusalKind::Denied);
        assert_eq!(RefusalKind::of_tcp(None, 3, "NullPointerException"), RefusalKind::Busy);
        assert_eq!(RefusalKind::of_tcp(None, 1, "never heard of"), RefusalKind::Unknown);
    }

    /// Texts of a running EventMesh 1.x, shortened.
    #[test]
    fn recorded_texts_are_understood() {
        for (desc, kind) in [
            ("java.lang.Exception: event size exceeds the limit: 1000", RefusalKind::TooLarge),
            ("java.lang.Exception: Tps overload, global flow control", RefusalKind::Busy),
            (
                "org.apache.eventmesh.api.exception.StorageRuntimeException: Send message error, topic: never",
                RefusalKind::Busy,
            ),
            (
                "org.apache.eventmesh.api.exception.StorageRuntimeException: topic:t-two is not exist",
                RefusalKind::Busy,
            ),
            ("java.lang.Exception: no session is found", RefusalKind::Session),
            (
                r#"java.lang.NullPointerException: Cannot invoke "StandaloneConsumer.subscribe(String)" because "this.consumer" is null"#,
                RefusalKind::Session,
            ),
            (
                "org.apache.eventmesh.api.exception.AclException: group:g has no auth to access eventMesh",
                RefusalKind::Denied,
            ),
            (
                "[org.apache.eventmesh.runtime.acl.Acl.doAclCheckInTcpConnect(Acl.java:93), org.apache.eventmesh.runtime.core",
                RefusalKind::Denied,
            ),
            (
                "[org.apache.eventmesh.runtime.core.protocol.tcp.client.processor.HelloProcessor.validateUserAgent(HelloProcessor.java:118)",
                RefusalKind::Invalid,
            ),
            (
                "[org.apache.eventmesh.runtime.core.protocol.tcp.client.processor.HelloProcessor.process(HelloProcessor.java:71)",
                RefusalKind::Unknown,
            ),
            ("java.lang.Exception: client purpose config is not sub", RefusalKind::Invalid),
            (
                "java.lang.IllegalArgumentException: Cannot find the Protocol adaptor: foo",
                RefusalKind::Invalid,
            ),
            (
                "org.apache.eventmesh.protocol.api.exception.ProtocolHandleException: Unsupported protocolVersion: 9.9",
                RefusalKind::Invalid,
            ),
            (
                "io.cloudevents.rw.CloudEventRWException: Invalid extensions name: Bad-Name",
                RefusalKind::Invalid,
            ),
            (
                "io.cloudevents.core.format.EventDeserializationException: com.fasterxml.jackson.databind.exc.MismatchedInputException",
                RefusalKind::Invalid,
            ),
            ("java.lang.NullPointerException", RefusalKind::Invalid),
        ] {
            assert_eq!(RefusalKind::of_tcp(None, 1, desc), kind, "{desc}");
        }
    }

    #[test]
    fn every_status_of_grpc_has_its_kind() {
        let of = |code| RefusalKind::of_status(StatusCode(code));
        let all_are = |codes: &[i32], kind| codes.iter().for_each(|code| assert_eq!(of(*code), kind, "{code}"));
        all_are(&[1, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21], RefusalKind::Busy);
        all_are(&[2, 3, 4, 6, 7], RefusalKind::Invalid);
        all_are(&[8, 30], RefusalKind::Session);
        all_are(&[9, 20], RefusalKind::Denied);
        all_are(&[22, 5, 99, -1], RefusalKind::Unknown);
        assert_eq!(RefusalKind::of_grpc(&pb::CloudEvent::default()), RefusalKind::Unknown);
    }
}
