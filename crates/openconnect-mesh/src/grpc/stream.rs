//! One subscriber's outgoing events.
//!
//! A client that acknowledges (attribute `openconnectack`) resolves events itself. For any other, an event counts as
//! consumed when the transport comes for the next one, so what the client's flow control holds back is not lost.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::task::AtomicWaker;
use openconnect_protocol::extension;
use openconnect_protocol::grpc::{self, StatusCode, keys, pb};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::answer::{Failure, stamp, stamp_failure};
use crate::asking::Asking;
use crate::auth::User;
use crate::broker::{Broker, Membership};
use crate::clock::now_ms;
use crate::convert::Form;
use crate::group::{Delivery, Outlet};
use crate::lock::locked;

/// Events encoded ahead of the transport.
const AHEAD: usize = 128;

/// By what a client is known in heartbeats and when it unsubscribes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    user: User,
    group: String,
    ip: String,
    pid: String,
    sys: String,
}

impl Identity {
    pub(crate) fn of(user: User, call: &pb::CloudEvent) -> Self {
        let text = |name| grpc::attr(call, name).unwrap_or_default().to_owned();
        Self {
            user,
            group: text(keys::CONSUMER_GROUP),
            ip: text(keys::IP),
            pid: text(keys::PID),
            sys: text(keys::SYS),
        }
    }
}

struct Out {
    message: pb::CloudEvent,
    /// Its number, when this is a delivery and no answer.
    delivery: Option<u64>,
}

pub(crate) struct StreamState {
    pub(crate) id: u64,
    pub(crate) broker: Arc<Broker>,
    streams: Arc<Streams>,
    queue: Mutex<VecDeque<Out>>,
    waker: AtomicWaker,
    starved: AtomicBool,
    pub(crate) acknowledges: AtomicBool,
    pub(crate) holds: AtomicBool,
    pub(crate) asking: Asking,
    pub(crate) identity: Mutex<Identity>,
    pub(crate) memberships: Mutex<Vec<Membership>>,
    /// The client is gone, or is to go.
    pub(crate) over: CancellationToken,
}

/// The open streams, for heartbeats and unsubscribing.
#[derive(Default)]
pub(crate) struct Streams(Mutex<HashMap<u64, Weak<StreamState>>>);

impl Streams {
    /// Streams of this client.
    pub(crate) fn of(&self, identity: &Identity) -> Vec<Arc<StreamState>> {
        let open: Vec<_> = locked(&self.0).values().filter_map(Weak::upgrade).collect();
        open.into_iter().filter(|s| *locked(&s.identity) == *identity).collect()
    }
}

impl StreamState {
    pub(crate) fn open(broker: &Arc<Broker>, streams: &Arc<Streams>) -> Arc<Self> {
        let state = Arc::new(Self {
            id: broker.number(),
            broker: Arc::clone(broker),
            streams: Arc::clone(streams),
            queue: Mutex::default(),
            waker: AtomicWaker::new(),
            starved: AtomicBool::new(false),
            acknowledges: AtomicBool::new(false),
            holds: AtomicBool::new(false),
            asking: Asking::default(),
            identity: Mutex::default(),
            memberships: Mutex::default(),
            over: broker.stop.child_token(),
        });
        locked(&streams.0).insert(state.id, Arc::downgrade(&state));
        state
    }

    fn put(&self, message: pb::CloudEvent, delivery: Option<u64>) {
        locked(&self.queue).push_back(Out { message, delivery });
        self.waker.wake();
    }

    /// Gives the client's message back with an outcome.
    pub(crate) fn echo(&self, mut message: pb::CloudEvent, outcome: Result<&str, &Failure>) {
        message.attributes.remove(keys::PASSWD);
        match outcome {
            Ok(text) => stamp(&self.broker, &mut message, StatusCode::SUCCESS, text),
            Err(failure) => stamp_failure(&self.broker, &mut message, failure),
        }
        self.put(message, None);
    }

    pub(crate) fn acknowledge(&self, mut seqs: Vec<u64>) {
        for membership in locked(&self.memberships).iter() {
            membership.group.acknowledge(self.id, &mut seqs);
        }
    }

    pub(crate) fn subscribed(&self) -> bool {
        !locked(&self.memberships).is_empty()
    }

    pub(crate) fn has_topic(&self, topic: &str) -> bool {
        locked(&self.memberships).iter().any(|m| &*m.topic.name == topic)
    }

    /// Ends the stream after the answers that are queued; gives back what was not acknowledged.
    pub(crate) fn end(&self) {
        self.over.cancel();
        let gone = std::mem::take(&mut *locked(&self.memberships));
        drop(gone);
        // Others get these.
        locked(&self.queue).retain(|out| out.delivery.is_none());
        self.waker.wake();
    }
}

/// One subscription of the stream, as its group sees it.
pub(crate) struct Push(pub(crate) Arc<StreamState>);

impl Outlet for Push {
    fn ready(&self) -> bool {
        if locked(&self.0.queue).len() < AHEAD {
            return true;
        }
        self.0.starved.store(true, Ordering::SeqCst);
        // It may have been taken between the two.
        locked(&self.0.queue).len() < AHEAD
    }

    fn holds(&self) -> bool {
        self.0.holds.load(Ordering::Relaxed)
    }

    fn deliver(&self, delivery: &Delivery<'_>) {
        let state = &self.0;
        let record = delivery.record;
        let form = Form {
            kind: record.kind,
            body: record.body.clone(),
        };
        let mut message = match form.to_grpc(delivery.topic) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(topic = delivery.topic, %error, "an event cannot be carried over gRPC");
                let mut failed = pb::CloudEvent::default();
                let text = format!("an event cannot be carried over gRPC: {error}");
                stamp_failure(&state.broker, &mut failed, &Failure::new(StatusCode::RUNTIME_ERROR, text));
                grpc::set_attr(&mut failed, extension::SEQ, delivery.seq.to_string());
                return state.put(failed, Some(delivery.seq));
            }
        };
        if let Some(request) = record.request {
            state.asking.add(delivery.seq, request.id, message.id.clone());
        }
        grpc::set_attr(&mut message, extension::SEQ, delivery.seq.to_string());
        grpc::set_attr(&mut message, extension::ATTEMPT, delivery.attempt.to_string());
        grpc::set_attr(&mut message, "reqeventmesh2ctimestamp", now_ms().to_string());
        state.put(message, Some(delivery.seq));
    }
}

/// What the transport polls.
pub(crate) struct Outgoing {
    state: Arc<StreamState>,
    last: Option<u64>,
}

impl Outgoing {
    pub(crate) fn new(state: Arc<StreamState>) -> Self {
        Self { state, last: None }
    }
}

impl Stream for Outgoing {
    type Item = Result<pb::CloudEvent, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(seq) = self.last.take() {
            self.state.acknowledge(vec![seq]);
        }
        self.state.waker.register(cx.waker());
        let next = locked(&self.state.queue).pop_front();
        match next {
            Some(out) => {
                self.last = out.delivery.filter(|_| !self.state.acknowledges.load(Ordering::Relaxed));
                if self.state.starved.swap(false, Ordering::SeqCst) {
                    locked(&self.state.memberships).iter().for_each(|m| m.group.wake());
                }
                Poll::Ready(Some(Ok(out.message)))
            }
            None if self.state.over.is_cancelled() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.state.end();
        locked(&self.state.streams.0).remove(&self.state.id);
    }
}
