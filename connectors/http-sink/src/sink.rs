//! The connector.

use std::time::Duration;

use http::Method;
use http::header::AUTHORIZATION;
use openconnect_core::cloudevents::Event;
use openconnect_core::sink::{Batch, Sink, SinkContext, SinkProfile, Target, WriteReport};
use openconnect_core::{Error, Failure, FailureKind, Result};
use openconnect_http::client::{Client, ClientSettings, Codes, Credentials, Endpoint, Proxy, client_tls};
use openconnect_http::codes::{HTTP_CONFIG, HTTP_CONNECT, HTTP_STATUS, HTTP_URL};

use crate::config::HttpSinkConfig;
use crate::request::{Destination, Requests};

/// Events in a request, in the modes that allow several.
const BATCH_EVENTS: usize = 500;
const BATCH_AGE: Duration = Duration::from_millis(5);
/// Requests at the same time when each has a batch.
const BATCH_IN_FLIGHT: usize = 8;
/// Requests at the same time when each has one event.
const SINGLE_IN_FLIGHT: usize = 64;

/// The HTTP sink.
pub struct HttpSink {
    client: Client,
    requests: Requests,
    credentials: Credentials,
    codes: Codes,
    /// Does a request hold several events?
    batched: bool,
}

impl Sink for HttpSink {
    const NAME: &'static str = "http-sink";
    type Config = HttpSinkConfig;

    /// With one request a batch, the batch is taken or refused as a whole.
    fn profile(config: &HttpSinkConfig) -> SinkProfile {
        let profile = SinkProfile::new().batch_age(BATCH_AGE).idempotent(config.idempotent);
        if config.mode.is_batched() {
            profile.batch_events(BATCH_EVENTS).in_flight(BATCH_IN_FLIGHT).atomic(true)
        } else {
            profile.batch_events(1).in_flight(SINGLE_IN_FLIGHT)
        }
    }

    /// GET of the health URL must succeed. Without one, HEAD shows that the endpoint is there, well, and takes the
    /// credentials: it need not know HEAD.
    async fn check(config: HttpSinkConfig) -> Result<()> {
        let sink = Self::new(&config, 1)?;
        match &config.health_url {
            Some(url) => sink.probe(url, Method::GET).await,
            None if sink.requests.is_fixed() => sink.probe(&config.url, Method::HEAD).await,
            None => {
                let reason = "sink.url or a header is a template: whether its endpoints can be reached shows with the first event";
                tracing::warn!("{reason}; set sink.health_url");
                Ok(())
            }
        }
    }

    async fn open(config: HttpSinkConfig, cx: SinkContext) -> Result<Self> {
        Self::new(&config, cx.in_flight)
    }

    fn target(&self, event: &Event) -> Result<Target, Failure> {
        self.requests.target(event)
    }

    async fn write(&self, batch: &Batch) -> WriteReport {
        let destination = match self.requests.destination(batch.target()) {
            Ok(destination) => destination,
            Err(failure) => return WriteReport::Failed(failure),
        };
        let events: Vec<&Event> = batch.events().collect();
        if self.batched || events.len() == 1 {
            let sent = self.send(&destination, &events).await;
            return sent.map_or_else(WriteReport::Failed, |()| WriteReport::Delivered);
        }
        self.send_singly(&destination, &events).await
    }
}

impl HttpSink {
    fn new(config: &HttpSinkConfig, connections: usize) -> Result<Self> {
        let urls = [Some(config.url.as_str()), config.health_url.as_deref(), config.auth.token_url()];
        let urls = urls.into_iter().flatten();
        Ok(Self {
            client: Client::new(ClientSettings {
                tls: client_tls(&config.tls, urls)?,
                proxy: Proxy::new(config.proxy.as_ref()).map_err(|wrong| Error::config(HTTP_CONFIG, format!("sink.proxy {wrong}")))?,
                timeout: config.timeout.0,
                idle_connections: connections,
                user_agent: concat!("openconnect-http-sink/", env!("CARGO_PKG_VERSION")),
            }),
            requests: Requests::new(config)?,
            credentials: Credentials::new(&config.auth)?,
            codes: config.codes.clone(),
            batched: config.mode.is_batched(),
        })
    }

    /// Asks the endpoint with GET for its health, which must be a success, or with HEAD whether it is there.
    async fn probe(&self, url: &str, method: Method) -> Result<()> {
        let failed = |failure: Failure| {
            Error::unavailable(HTTP_CONNECT, "the endpoint can't be used")
                .because(failure)
                .hint("Check sink.url, the credentials, the network and TLS.")
        };
        let endpoint = Endpoint::parse(url).map_err(|reason| failed(Failure::permanent(HTTP_URL, format!("the URL {reason}"))))?;
        let asks_health = method == Method::GET;
        let mut request = endpoint.request(method, Vec::new());
        if let Some(credentials) = self.credentials.header(&self.client).await.map_err(failed)? {
            request.headers_mut().insert(AUTHORIZATION, credentials);
        }
        let status = self.client.send(request).await.map_err(failed)?.status;
        let refused = matches!(status.as_u16(), 401 | 403) || status.is_server_error() && status != http::StatusCode::NOT_IMPLEMENTED;
        if refused || (asks_health && !status.is_success()) {
            return Err(failed(Failure::retryable(
                HTTP_STATUS.code(status.as_u16()),
                format!("the endpoint answered {status}"),
            )));
        }
        Ok(())
    }

    /// One request after the other. An endpoint that asks for fewer requests gets no more of this batch.
    async fn send_singly(&self, destination: &Destination, events: &[&Event]) -> WriteReport {
        let mut results: Vec<Result<(), Failure>> = Vec::with_capacity(events.len());
        for event in events {
            let result = self.send(destination, &[event]).await;
            let throttled = matches!(&result, Err(failure) if matches!(failure.kind, FailureKind::Throttled { .. }));
            results.push(result.clone());
            if throttled {
                results.resize(events.len(), result);
                break;
            }
        }
        WriteReport::PerEvent(results)
    }

    async fn send(&self, destination: &Destination, events: &[&Event]) -> Result<(), Failure> {
        let mut request = self.requests.prepare(destination, events)?;
        let credentials = self.credentials.header(&self.client).await?;
        if let Some(credentials) = &credentials {
            request.headers_mut().insert(AUTHORIZATION, credentials.clone());
        }
        let response = self.client.send(request).await?;
        if let Some(rejected) = credentials.filter(|_| response.status == http::StatusCode::UNAUTHORIZED) {
            self.credentials.refused(&rejected);
        }
        self.codes.outcome(&response)
    }
}
