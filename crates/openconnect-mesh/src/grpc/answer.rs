//! Outcomes: EventMesh tells them in attributes of the answer, the gRPC status is OK.

use std::time::{SystemTime, UNIX_EPOCH};

use openconnect_protocol::grpc::pb::cloud_event::cloud_event_attribute_value::Attr;
use openconnect_protocol::grpc::{self, StatusCode, keys, pb};

use crate::auth;
use crate::broker::Broker;
use crate::log::topic::Refusal;

/// Why a call did not do what it was to do.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) StatusCode, pub(crate) String);

impl Failure {
    pub(crate) fn body(reason: impl Into<String>) -> Self {
        Self(StatusCode::BODY_ERROR, reason.into())
    }

    /// A refusal that may pass gets a code that clients try again after.
    pub(crate) fn refused(refusal: Refusal, passing: StatusCode) -> Self {
        Self(if refusal.retryable { passing } else { StatusCode::BODY_ERROR }, refusal.reason)
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
        Err(Failure(code, text)) => stamp(broker, &mut out, code, &text),
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
        ("openconnectserver", crate::SERVER),
        ("openconnectredelivers", "true"),
        ("openconnectdurablebatch", "true"),
        ("openconnectmaxeventbytes", &limit),
    ] {
        grpc::set_attr(out, name, value);
    }
}

/// Refuses whoever does not give the name and password of a user.
pub(crate) fn check_user(broker: &Broker, call: &pb::CloudEvent) -> Result<(), Failure> {
    if auth::may_connect(&broker.config, grpc::attr(call, keys::USERNAME), grpc::attr(call, keys::PASSWD)) {
        return Ok(());
    }
    Err(Failure(StatusCode::ACL_REFUSAL, "unknown user name or wrong password".to_owned()))
}
