//! Publishing: every answer comes after the commit, that of a batch as well.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use openconnect_protocol::grpc::{self, StatusCode, keys, pb};
use prost::Message;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::answer::{Failure, answer, enter, stamp_failure};
use crate::broker::{Broker, ttl};
use crate::log::record::{self, Kind};
use crate::log::topic::{Publish, Topic};
use crate::refusal::Refusal;

pub(crate) struct Publisher(pub(crate) Arc<Broker>);

/// Events of one topic, encoded.
struct Batch {
    topic: Arc<Topic>,
    entries: Vec<Bytes>,
}

/// As EventMesh, when a request does not say how long it waits.
const DEFAULT_TTL_MS: u64 = 4000;

impl Publisher {
    async fn entry(&self, mut event: pb::CloudEvent, request: Option<record::Request>) -> Result<(Arc<Topic>, Bytes), Failure> {
        let broker = &self.0;
        if broker.stopping.load(Ordering::Acquire) {
            return Err(Failure::refused(Refusal::stopping(), StatusCode::STOPPING));
        }
        let user = enter(broker, &event)?;
        for (name, value) in [("id", &event.id), ("source", &event.source), ("type", &event.r#type)] {
            if value.is_empty() {
                return Err(Failure::body(format!(
                    "malformed event: the attribute `{name}` is missing or empty"
                )));
            }
        }
        let topic = grpc::attr(&event, keys::SUBJECT).unwrap_or_default().to_owned();
        // Not for subscribers' eyes, nor for the disk.
        event.attributes.remove(keys::PASSWD);
        event.attributes.remove(keys::USERNAME);
        let body = event.encode_to_vec();
        let limit = broker.config.limits.max_event_bytes;
        if body.len() as u64 > limit {
            return Err(Failure::refused(Refusal::too_large(limit), StatusCode::BODY_ERROR));
        }
        let topic = broker
            .topic_to_publish(&user, &topic)
            .await
            .map_err(|r| Failure::refused(r, StatusCode::PUBLISH_FAILED))?;
        let key = grpc::scalar(&event, "partitionkey").unwrap_or_default();
        let mut entry = BytesMut::new();
        record::encode(Kind::Grpc, request, &key, &body, &mut entry);
        Ok((topic, entry.freeze()))
    }

    async fn publish_one(&self, event: pb::CloudEvent) -> Result<String, Failure> {
        let (topic, entry) = self.entry(event, None).await?;
        let text = format!("success SendResult[topic={}]", topic.name);
        commit(Batch {
            topic,
            entries: vec![entry],
        })
        .await?;
        Ok(text)
    }

    /// Refused as a whole when one event is; then nothing of it was stored.
    async fn publish_batch(&self, events: Vec<pb::CloudEvent>) -> Result<String, Failure> {
        if events.is_empty() {
            return Err(Failure::body("the batch is empty"));
        }
        let mut batches: Vec<Batch> = Vec::new();
        for event in events {
            let (topic, entry) = self.entry(event, None).await?;
            match batches.iter_mut().find(|b| Arc::ptr_eq(&b.topic, &topic)) {
                Some(batch) => batch.entries.push(entry),
                None => batches.push(Batch {
                    topic,
                    entries: vec![entry],
                }),
            }
        }
        for batch in batches {
            commit(batch).await?;
        }
        Ok("success batch publish success".to_owned())
    }

    async fn ask(&self, event: pb::CloudEvent) -> Result<pb::CloudEvent, Failure> {
        let broker = &self.0;
        // A place among the requests is for users.
        enter(broker, &event)?;
        let ttl = ttl(grpc::attr(&event, keys::TTL).and_then(|t| t.parse().ok()).unwrap_or(DEFAULT_TTL_MS));
        let failed = |r| Failure::refused(r, StatusCode::REQUEST_REPLY_FAILED);
        let (request, reply) = broker.open_request(ttl).map_err(failed)?;
        // Also when the caller gives up and this future is dropped.
        let _close = Closing { broker, id: request.id };
        let (topic, entry) = self.entry(event, Some(request)).await?;
        let name = Arc::clone(&topic.name);
        commit(Batch {
            topic,
            entries: vec![entry],
        })
        .await?;
        let got = tokio::select! {
            got = tokio::time::timeout(ttl, reply) => got,
            () = broker.stop.cancelled() => return Err(Failure::refused(Refusal::stopping(), StatusCode::STOPPING)),
        };
        let Ok(Ok(form)) = got else {
            return Err(Failure::new(StatusCode::REQUEST_REPLY_FAILED, "no reply came in time"));
        };
        form.to_grpc(&name)
            .map_err(|e| Failure::new(StatusCode::REQUEST_REPLY_FAILED, e.to_string()))
    }
}

struct Closing<'a> {
    broker: &'a Broker,
    id: u64,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.broker.close_request(self.id);
    }
}

async fn commit(batch: Batch) -> Result<(), Failure> {
    let (done, committed) = oneshot::channel();
    let bytes = batch.entries.iter().map(Bytes::len).sum();
    // The caller may be gone by then.
    let done = Box::new(move |result: Result<(), Refusal>| drop(done.send(result)));
    batch.topic.publish(Publish {
        entries: batch.entries,
        bytes,
        latch: None,
        done,
    });
    match committed.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(refusal)) => Err(Failure::refused(refusal, StatusCode::PUBLISH_FAILED)),
        Err(_) => Err(Failure::new(StatusCode::PUBLISH_FAILED, "the commit was given up")),
    }
}

fn or_status(outcome: Result<String, Failure>) -> Result<Response<()>, Status> {
    match outcome {
        Ok(_) => Ok(Response::new(())),
        Err(Failure { refusal, .. }) if refusal.kind.may_pass() => Err(Status::unavailable(refusal.reason)),
        Err(Failure { refusal, .. }) => Err(Status::invalid_argument(refusal.reason)),
    }
}

#[tonic::async_trait]
impl pb::publisher_service_server::PublisherService for Publisher {
    async fn publish(&self, call: Request<pb::CloudEvent>) -> Result<Response<pb::CloudEvent>, Status> {
        let outcome = self.publish_one(call.into_inner()).await;
        Ok(Response::new(answer(&self.0, outcome)))
    }

    async fn request_reply(&self, call: Request<pb::CloudEvent>) -> Result<Response<pb::CloudEvent>, Status> {
        let mut question = call.into_inner();
        let reply = match self.ask(question.clone()).await {
            Ok(mut reply) => {
                grpc::set_attr(&mut reply, keys::STATUS_CODE, "0");
                grpc::set_attr(&mut reply, keys::RESPONSE_MESSAGE, "success");
                reply
            }
            // EventMesh gives the request back with the outcome.
            Err(failure) => {
                question.attributes.remove(keys::PASSWD);
                stamp_failure(&self.0, &mut question, &failure);
                question
            }
        };
        Ok(Response::new(reply))
    }

    async fn publish_one_way(&self, call: Request<pb::CloudEvent>) -> Result<Response<()>, Status> {
        or_status(self.publish_one(call.into_inner()).await)
    }

    async fn batch_publish(&self, call: Request<pb::CloudEventBatch>) -> Result<Response<pb::CloudEvent>, Status> {
        let outcome = self.publish_batch(call.into_inner().events).await;
        Ok(Response::new(answer(&self.0, outcome)))
    }

    async fn batch_publish_one_way(&self, call: Request<pb::CloudEventBatch>) -> Result<Response<()>, Status> {
        or_status(self.publish_batch(call.into_inner().events).await)
    }
}
