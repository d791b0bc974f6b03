//! The connector.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use http::Method;
use http::header::AUTHORIZATION;
use openconnect_core::cloudevents::Event;
use openconnect_core::sink::{Batch, Ordering, Sink, SinkContext, SinkDefaults, WriteReport};
use openconnect_core::{Error, Failure, FailureKind, Result};
use openconnect_http::client::{Client, ClientSettings, Codes, Credentials, Endpoint};

use crate::config::HttpSinkConfig;
use crate::request::{Requests, Target};

/// Requests at the same time when each has one event.
const SINGLE_IN_FLIGHT: usize = 64;

/// Events of one target, each with its place in the batch.
type Group<'a> = (Cow<'a, Target>, Vec<(usize, &'a Event)>);

/// What `check` asks.
struct Check {
    url: String,
    /// Asked for its health: anything but a success is a failure.
    health: bool,
}

/// The HTTP sink.
pub struct HttpSink {
    client: Client,
    requests: Requests,
    credentials: Credentials,
    codes: Codes,
    check: Option<Check>,
    one_request: bool,
}

impl Sink for HttpSink {
    const NAME: &'static str = "http-sink";
    const DEFAULTS: SinkDefaults = SinkDefaults {
        batch_events: 500,
        batch_bytes: 1 << 20,
        batch_age: Duration::from_millis(5),
        in_flight: 8,
        ordering: Ordering::Key,
        idempotent: false,
    };
    type Config = HttpSinkConfig;

    fn defaults(config: &HttpSinkConfig) -> SinkDefaults {
        let batched = config.mode.is_batched();
        SinkDefaults {
            batch_events: if batched { Self::DEFAULTS.batch_events } else { 1 },
            in_flight: if batched { Self::DEFAULTS.in_flight } else { SINGLE_IN_FLIGHT },
            idempotent: config.idempotent,
            ..Self::DEFAULTS
        }
    }

    async fn open(config: HttpSinkConfig, cx: SinkContext) -> Result<Self> {
        let requests = Requests::new(&config)?;
        Ok(Self {
            client: Client::new(ClientSettings {
                tls: tls(&config)?,
                timeout: config.timeout.0,
                idle_connections: cx.in_flight,
                user_agent: concat!("openconnect-http-sink/", env!("CARGO_PKG_VERSION")),
            }),
            one_request: config.mode.is_batched() && requests.one_target(),
            credentials: Credentials::new(&config.auth)?,
            codes: config.codes.clone(),
            check: match &config.health_url {
                Some(url) => Some(Check {
                    url: url.clone(),
                    health: true,
                }),
                None => requests.one_target().then(|| Check {
                    url: config.url.clone(),
                    health: false,
                }),
            },
            requests,
        })
    }

    /// GET of the health URL must succeed. Without one, HEAD shows that the endpoint is there, well, and takes the
    /// credentials: it need not know HEAD.
    async fn check(&self) -> Result<()> {
        let Some(Check { url, health }) = &self.check else {
            tracing::warn!("sink.url is a template: whether its endpoints can be reached shows with the first event; set sink.health_url");
            return Ok(());
        };
        let failed = |failure: Failure| {
            Error::unavailable("HTTP_CONNECT", failure.to_string()).hint("Check sink.url, the credentials, the network and TLS.")
        };
        let endpoint = Endpoint::parse(url).map_err(|reason| failed(Failure::permanent("HTTP_URL", format!("the URL {reason}"))))?;
        let mut request = endpoint.request(if *health { Method::GET } else { Method::HEAD }, Vec::new());
        if let Some(credentials) = self.credentials.header(&self.client).await.map_err(failed)? {
            request.headers_mut().insert(AUTHORIZATION, credentials);
        }
        let status = self.client.send(request).await.map_err(failed)?.status;
        let refused = matches!(status.as_u16(), 401 | 403) || status.is_server_error() && status != http::StatusCode::NOT_IMPLEMENTED;
        if refused || (*health && !status.is_success()) {
            return Err(failed(Failure::retryable(
                format!("HTTP_{}", status.as_u16()),
                format!("the endpoint answered {status}"),
            )));
        }
        Ok(())
    }

    /// One request a batch: it is taken or refused as a whole.
    fn atomic(&self) -> bool {
        self.one_request
    }

    async fn write(&self, batch: &Batch) -> WriteReport {
        if self.one_request {
            let events: Vec<&Event> = batch.events().collect();
            let sent = match events.first().map(|event| self.requests.target(event)) {
                Some(Ok(target)) => self.send(&target, &events).await,
                Some(Err(failure)) => Err(failure),
                None => Ok(()),
            };
            return sent.map_or_else(WriteReport::Failed, |()| WriteReport::Delivered);
        }
        self.write_by_target(batch).await
    }
}

/// The system's authorities cost time and memory at start: they are loaded only where TLS is spoken.
fn tls(config: &HttpSinkConfig) -> Result<rustls::ClientConfig> {
    let plain = [Some(config.url.as_str()), config.health_url.as_deref(), config.auth.token_url()]
        .into_iter()
        .flatten()
        .all(|url| url.starts_with("http://"));
    if plain {
        Ok(openconnect_core::tls::without_roots()?)
    } else {
        Ok((*config.tls.client()?).clone())
    }
}

impl HttpSink {
    /// Events with the same rendered target share a request, where the mode allows it. A batch has one event of a key at
    /// most, so that requests may go one after the other in any order.
    async fn write_by_target(&self, batch: &Batch) -> WriteReport {
        let mut results: Vec<Result<(), Failure>> = vec![Ok(()); batch.len()];
        let mut groups: Vec<Group<'_>> = Vec::new();
        let mut known: HashMap<Cow<'_, Target>, usize> = HashMap::new();
        let batched = self.requests.is_batched();
        for (at, event) in batch.events().enumerate() {
            match self.requests.target(event) {
                Ok(target) if !batched => groups.push((target, vec![(at, event)])),
                Ok(target) => match known.get(&target) {
                    Some(&group) => groups[group].1.push((at, event)),
                    None => {
                        known.insert(target.clone(), groups.len());
                        groups.push((target, vec![(at, event)]));
                    }
                },
                Err(failure) => results[at] = Err(failure),
            }
        }
        // An endpoint that asked for fewer requests gets no more of this batch.
        let mut throttled: Option<Failure> = None;
        for (target, events) in groups {
            if let Some(failure) = &throttled {
                events.iter().for_each(|(at, _)| results[*at] = Err(failure.clone()));
                continue;
            }
            let group: Vec<&Event> = events.iter().map(|(_, event)| *event).collect();
            let Err(failure) = self.send(&target, &group).await else { continue };
            if matches!(failure.kind, FailureKind::Throttled { .. }) {
                throttled = Some(failure.clone());
            }
            let poisoned = events.len() > 1 && failure.kind == FailureKind::Permanent;
            for (at, event) in events {
                // One of them spoils the rest: each is asked about alone.
                results[at] = if poisoned {
                    self.send(&target, &[event]).await
                } else {
                    Err(failure.clone())
                };
            }
        }
        WriteReport::PerEvent(results)
    }

    async fn send(&self, target: &Target, events: &[&Event]) -> Result<(), Failure> {
        let mut request = self.requests.prepare(target, events)?;
        let credentials = self.credentials.header(&self.client).await?;
        if let Some(credentials) = &credentials {
            request.headers_mut().insert(AUTHORIZATION, credentials.clone());
        }
        let response = self.client.send(request).await?;
        if let Some(rejected) = credentials.filter(|_| response.status == http::StatusCode::UNAUTHORIZED) {
            self.credentials.refused(&rejected).await;
        }
        self.codes.outcome(&response)
    }
}
