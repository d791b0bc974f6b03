//! The server: one request from its head to its answer.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use openconnect_core::budget::{Budget, Reservation, event_bytes};
use openconnect_core::cloudevents::Event;
use openconnect_core::codes as core_codes;
use openconnect_core::failure::{Failure, FailureKind};
use openconnect_core::outcome::Receipt;
use openconnect_core::record::{NoPosition, Partition, Record};
use openconnect_core::source::Intake;
use openconnect_http::server::{self, Auth, BodyLimits, Handler, Problem, RequestLog};
use tokio::sync::{mpsc, watch};

use crate::codes;
use crate::decode::Decoder;
use crate::request::Request as EventRequest;

/// The events of one request.
pub(crate) type Batch = Vec<Record<NoPosition>>;

/// What every request needs.
pub(crate) struct Server {
    pub(crate) path: String,
    pub(crate) prefix: bool,
    pub(crate) methods: Vec<String>,
    pub(crate) auth: Auth,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) log: RequestLog,
    pub(crate) limits: BodyLimits,
    pub(crate) response_timeout: Duration,
    pub(crate) response_code: StatusCode,
    pub(crate) decoder: Decoder,
    pub(crate) max_event_bytes: usize,
    pub(crate) budget: Budget,
    pub(crate) intake: watch::Receiver<Intake>,
    pub(crate) batches: mpsc::Sender<Batch>,
    pub(crate) partition: Partition,
}

impl Handler for Server {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match self.handle(request).await {
            Ok(response) => {
                self.log.accepted(response.status());
                response
            }
            Err(problem) => {
                self.log.refused(&problem);
                problem.into_response()
            }
        }
    }
}

impl Server {
    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Problem> {
        let (head, incoming) = request.into_parts();
        if head.method == Method::OPTIONS
            && self.is_path(head.uri.path())
            && let Some(consent) = server::webhook_consent(&head.headers, &self.allowed_origins)
        {
            return Ok(consent);
        }
        self.route(head.method.as_str(), head.uri.path())?;
        self.auth.check_head(&head.headers)?;
        match *self.intake.borrow() {
            Intake::Open => {}
            Intake::Blocked => return Err(Problem::unavailable("no events can be taken at the moment")),
            Intake::Closed => return Err(Problem::unavailable("shutting down")),
        }
        let (body, memory) = server::read(incoming, content_length(&head.headers), &self.limits, &self.budget).await?;
        self.auth.check_body(&head.headers, &body)?;
        let body = server::decompress(&head.headers, body, &self.limits)?;
        if matches!(self.auth, Auth::Slack { .. })
            && let Some(answer) = server::slack_challenge(&body)
        {
            return Ok(answer);
        }
        let request = EventRequest {
            method: &head.method,
            uri: &head.uri,
            headers: &head.headers,
            body: &body,
        };
        let events = self.decoder.decode(&request)?;
        let largest = events
            .iter()
            .filter_map(openconnect_protocol::payload::bytes)
            .map(|data| data.len())
            .max();
        if largest.is_some_and(|bytes| bytes > self.max_event_bytes) {
            return Err(Problem::too_large(format!(
                "an event is larger than {} bytes",
                self.max_event_bytes
            )));
        }
        // The events have taken what they need of it.
        drop(body);
        self.deliver(events, memory).await?;
        let mut response = Response::new(Full::default());
        *response.status_mut() = self.response_code;
        Ok(response)
    }

    /// Is this the webhook's path?
    fn is_path(&self, path: &str) -> bool {
        let below = || {
            path.strip_prefix(self.path.trim_end_matches('/'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        path == self.path || self.prefix && below()
    }

    fn route(&self, method: &str, path: &str) -> Result<(), Problem> {
        if !self.is_path(path) {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                codes::HTTP_NOT_FOUND,
                "there is nothing at this path",
            ));
        }
        if !self.methods.iter().any(|known| known == method) {
            let allow = HeaderValue::from_str(&self.methods.join(", ")).unwrap_or_else(|_| HeaderValue::from_static("POST"));
            return Err(
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, codes::HTTP_METHOD, "this method is not taken here")
                    .with(header::ALLOW, allow),
            );
        }
        Ok(())
    }

    /// Hands the events over and waits for the outcome of all. The memory of the body goes with them.
    async fn deliver(&self, events: Vec<Event>, mut memory: Reservation) -> Result<(), Problem> {
        let needed: usize = events.iter().map(event_bytes).sum();
        if needed > memory.bytes() {
            memory.merge(server::reserve(&self.budget, needed - memory.bytes())?);
        }
        let (receipt, result) = Receipt::new();
        let receipts = std::iter::repeat_n(receipt, events.len());
        let records = events.into_iter().zip(receipts).map(|(event, receipt)| {
            let memory = memory.split(event_bytes(&event));
            Record::event(self.partition.clone(), event)
                .with_receipt(receipt)
                .with_reservation(memory)
        });
        let batch = records.collect();
        drop(memory);
        self.batches
            .try_send(batch)
            .map_err(|_| Problem::unavailable("too many requests are waiting"))?;
        match tokio::time::timeout(self.response_timeout, result).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(failure))) => Err(not_taken(&failure)),
            Ok(Err(_)) => Err(Problem::unavailable("not every event was accepted")),
            Err(_) => Err(Problem::unavailable("the events were not accepted in time; they may have arrived")),
        }
    }
}

/// What a sender can do about an event that the mesh does not have. The failure's text is for the log: it names servers and settings.
fn not_taken(failure: &Failure) -> Problem {
    match failure.code {
        code if [core_codes::TOO_LARGE_FOR_MESH, core_codes::EVENT_TOO_LARGE].contains(&code) => {
            Problem::too_large("an event is larger than the mesh takes; what else the request holds may have arrived")
        }
        // The next attempt may find other rights.
        code if code == core_codes::NOT_ALLOWED => Problem::unavailable("the mesh does not allow it"),
        code if failure.kind == FailureKind::Permanent => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            code,
            "the mesh refuses an event for good; what else the request holds may have arrived",
        ),
        _ => Problem::unavailable("not every event was accepted"),
    }
}

fn content_length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
