//! Outcomes: EventMesh tells them in attributes of the answer, the gRPC status is OK.

use std::time::{SystemTime, UNIX_EPOCH};

use openconnect_protocol::extension;
use openconnect_protocol::grpc::pb::cloud_event::cloud_event_attribute_value::Attr;
use openconnect_protocol::grpc::{self, StatusCode, keys, pb};
use openconnect_protocol::refusal::RefusalKind;

use crate::auth::{Credentials, User};
use crate::broker::Broker;
use crate::refusal::Refusal;

/// Why a call did not do what it was to do: EventMesh's code, and what clients of this mesh are told.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: StatusCode,
    pub(crate) refusal: Refusal,
}

impl Failure {
    /// A failure of the kind that its code tells.
    pub(crate) fn new(code: StatusCode, reason: impl Into<String>) -> Self {
        let refusal = Refusal::new(RefusalKind::of_status(code), reason);
        Self { code, refusal }
    }

    pub(crate) fn body(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BODY_ERROR, reason)
    }

    /// A refusal that may pass gets a code that clients try again after.
    pub(crate) fn refused(refusal: Refusal, passing: StatusCode) -> Self {
        let code = match refusal.kind {
            RefusalKind::Busy | RefusalKind::Unknown => passing,
            RefusalKind::Session => StatusCode::STOPPING,
            RefusalKind::Denied => StatusCode::ACL_REFUSAL,
            RefusalKind::TooLarge | RefusalKind::Invalid => StatusCode::BODY_ERROR,
        };
        Self { code, refusal }
    }
}

pub(crate) fn answer(broker: &Broker, outcome: Result<String, Failure>) -> pb::CloudEvent {
    let mut out = pb::CloudEvent {
        id: uuid::Uuid::new_v4().to_string(),
        spec_version: "1.0".to_owned(),
        ..Default::default()
    };
    match outcome {
        Ok(text) => stamp(broker, &mut out, StatusCode::SUCCESS, &text),
        Err(failure) => stamp_failure(broker, &mut out, &failure),
    }
    out
}

/// Adds outcome, time and what this server can.
pub(crate) fn stamp(broker: &Broker, out: &mut pb::CloudEvent, code: StatusCode, text: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = prost_types::Timestamp {
        seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(now.subsec_nanos()).unwrap_or(0),
    };
    grpc::put(out, keys::TIME, Attr::CeTimestamp(time));
    let limit = broker.config.limits.max_event_bytes.to_string();
    for (name, value) in [
        (keys::STATUS_CODE, code.0.to_string().as_str()),
        (keys::RESPONSE_MESSAGE, text),
        (extension::SERVER, crate::SERVER),
        (extension::REDELIVERS, extension::TRUE),
        (extension::DURABLE_BATCH, extension::TRUE),
        (extension::MAX_EVENT_BYTES, &limit),
    ] {
        grpc::set_attr(out, name, value);
    }
}

/// Adds the outcome of what failed.
pub(crate) fn stamp_failure(broker: &Broker, out: &mut pb::CloudEvent, failure: &Failure) {
    stamp(broker, out, failure.code, &failure.refusal.reason);
    grpc::set_attr(out, extension::REFUSAL, failure.refusal.kind.name());
}

/// Refuses whoever does not give the name and password of a user.
pub(crate) fn enter(broker: &Broker, call: &pb::CloudEvent) -> Result<User, Failure> {
    let credentials = Credentials {
        name: grpc::attr(call, keys::USERNAME),
        password: grpc::attr(call, keys::PASSWD),
        token: None,
    };
    let user = broker.gate.enter(credentials);
    user.map_err(|refusal| Failure::refused(refusal, StatusCode::ACL_REFUSAL))
}
