//! Publishing over gRPC: one call at a time, so that order holds; batches where a confirmed batch is a stored one.

use std::collections::VecDeque;

use openconnect_protocol::grpc::pb::publisher_service_client::PublisherServiceClient;
use openconnect_protocol::grpc::{StatusCode, pb};
use openconnect_protocol::refusal::RefusalKind;
use prost::Message as _;
use tokio::time::{MissedTickBehavior, interval};
use tonic::Code;

use super::ended::Ended;
use super::grpc::{Client, GrpcSession, MAX_MESSAGE, call_failed, reason};
use super::publish::{Flight, Lane, Outgoing};
use super::refused::{self, Consequence};
use crate::codes;
use crate::failure::Failure;

/// Events of a batch, at the most.
const BATCH: usize = 512;
/// Bytes of a batch, at the most; a larger event goes alone.
const BATCH_BYTES: usize = 1 << 20;

/// What became of a call.
enum Outcome {
    Confirmed,
    /// Something in it is refused for good.
    Permanent(Failure),
    /// The server takes nothing for now.
    Refused(String),
    /// The session is of no use any more, or the credentials are not.
    Broken(Failure),
}

impl Lane {
    pub(super) async fn grpc_session(&mut self, session: GrpcSession, flight: &mut Flight) -> Ended {
        self.announce(&session.capabilities, flight);
        let window = if session.durable_batch { self.window.unwrap_or(BATCH) } else { 1 };
        let mut heartbeat = interval(self.dialer.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        let mut open = true;
        // A batch was refused for good: this many go one by one, to find out which of them it was.
        let mut singly = 0_usize;
        let ends = self.ends.clone();
        loop {
            while let Some(events) = (flight.waiting.len() < window).then(|| self.queue.try_recv().ok()).flatten() {
                flight.waiting.extend(events);
            }
            if flight.waiting.is_empty() {
                if !open {
                    return Ended::Closed;
                }
                tokio::select! {
                    biased;
                    () = ends.cancelled() => return Ended::Closed,
                    received = self.queue.recv() => match received {
                        Some(events) => flight.waiting.extend(events),
                        None => open = false,
                    },
                    _ = heartbeat.tick() => if let Err(failure) = session.heartbeat(Client::Publisher, "[]").await {
                        return Ended::Broken(failure);
                    },
                }
                continue;
            }
            let count = if singly > 0 { 1 } else { session.batch(&flight.waiting, window) };
            let outcome = tokio::select! {
                outcome = session.publish(&flight.waiting, count) => outcome,
                () = ends.cancelled() => return Ended::Closed,
            };
            match outcome {
                Outcome::Confirmed => {
                    for event in flight.waiting.drain(..count).collect::<Vec<_>>() {
                        flight.confirm(event);
                    }
                    singly = singly.saturating_sub(1);
                    self.believed();
                }
                Outcome::Permanent(failure) if count == 1 => {
                    if let Some(event) = flight.waiting.pop_front() {
                        flight.refuse(event, failure);
                    }
                    singly = singly.saturating_sub(1);
                }
                Outcome::Permanent(_) => singly = count,
                Outcome::Refused(reason) => return Ended::Refused(reason),
                Outcome::Broken(failure) => return Ended::Broken(failure),
            }
        }
    }
}

impl GrpcSession {
    /// How many of the waiting events go into the next call.
    fn batch(&self, waiting: &VecDeque<Outgoing>, window: usize) -> usize {
        let room = BATCH_BYTES.min(self.max_event_bytes);
        let mut bytes = 0;
        let fitting = waiting.iter().take(window.clamp(1, BATCH)).take_while(|event| {
            bytes += event.body.len() + 8;
            bytes <= room
        });
        fitting.count().max(1)
    }

    async fn publish(&self, waiting: &VecDeque<Outgoing>, count: usize) -> Outcome {
        let mut events = Vec::with_capacity(count);
        for event in waiting.iter().take(count) {
            match pb::CloudEvent::decode(event.body.as_slice()) {
                Ok(event) => events.push(event),
                Err(error) => {
                    let failure = Failure::permanent(codes::EVENT_NOT_FRAMED, "the event can't be framed");
                    return Outcome::Permanent(failure.because(error));
                }
            }
        }
        let mut publisher = PublisherServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let call = async {
            match events.pop() {
                Some(single) if events.is_empty() => publisher.publish(single).await,
                last => {
                    events.extend(last);
                    publisher.batch_publish(pb::CloudEventBatch { events }).await
                }
            }
        };
        let answer = match tokio::time::timeout(self.dialer.request_timeout, call).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) if is_too_large(&status) => {
                let text = format!("the event is larger than {} takes over gRPC: {}", self.server, status.message());
                return Outcome::Permanent(Failure::permanent(codes::TOO_LARGE_FOR_MESH, text));
            }
            Ok(Err(status)) => return Outcome::Broken(call_failed(&self.server, &status)),
            Err(_) => {
                let text = format!("{} did not confirm an event in time", self.server);
                return Outcome::Broken(Failure::retryable(codes::NO_ANSWER, text));
            }
        };
        self.outcome(&answer).await
    }

    async fn outcome(&self, answer: &pb::CloudEvent) -> Outcome {
        match StatusCode::of(answer) {
            Some(StatusCode::SUCCESS) => return Outcome::Confirmed,
            Some(_) => {}
            None => {
                let text = format!("{} answered a publish without a status", self.server);
                return Outcome::Broken(Failure::retryable(codes::SESSION_BROKEN, text));
            }
        }
        let kind = RefusalKind::of_grpc(answer);
        // Every call carries the credentials: a heartbeat tells whether it is them that are refused, or only the topic.
        if kind == RefusalKind::Denied
            && let Err(failure) = self.heartbeat(Client::Publisher, "[]").await
        {
            return Outcome::Broken(failure);
        }
        match refused::publish(kind, &self.server, reason(answer)) {
            Consequence::Resolve(failure) => Outcome::Permanent(failure),
            Consequence::Reconnect(failure) => Outcome::Broken(failure),
            Consequence::Wait(reason) => Outcome::Refused(reason),
        }
    }
}

/// gRPC's own limit on messages: the server's or ours. Java's servers and tonic's word it differently.
fn is_too_large(status: &tonic::Status) -> bool {
    matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted)
        && (status.message().contains("message length too large") || status.message().contains("exceeds maximum size"))
}
