//! How servers are reached: addresses, TLS, who the client says it is.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::route::{Candidate, Route};
use super::socket::Socket;
use super::url::{MeshUrl, Server, Transport};
use crate::codes;
use crate::config::MeshSettings;
use crate::error::Result;
use crate::failure::Failure;
use crate::secret::Secret;

/// Everything needed to set up sessions, again and again.
pub(crate) struct Dialer {
    url: MeshUrl,
    group: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) token: Option<Secret>,
    tls: Option<(Arc<rustls::ClientConfig>, Option<String>)>,
    /// Tells this client from all others, on every machine: EventMesh identifies gRPC clients by it.
    pub(super) pid: u32,
    pub(crate) request_timeout: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) reconnect_max: Duration,
}

impl Dialer {
    pub(crate) fn new(settings: &MeshSettings, group: &str) -> Result<Self> {
        let url = MeshUrl::parse(&settings.url).map_err(|reason| crate::Error::config(codes::MESH_URL, format!("mesh.url {reason}")))?;
        let tls = if url.tls {
            Some((settings.tls.client()?, settings.tls.server_name.clone()))
        } else {
            None
        };
        Ok(Self {
            url,
            group: group.to_owned(),
            username: settings.username.clone(),
            password: settings.password.clone(),
            token: settings.token.clone(),
            tls,
            pid: rand::random_range(1..=i32::MAX.unsigned_abs()),
            request_timeout: settings.request_timeout.0,
            heartbeat: settings.heartbeat.0,
            reconnect_max: settings.reconnect_max.0,
        })
    }

    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    pub(crate) fn transport(&self) -> Transport {
        self.url.transport
    }

    /// The servers to try, in order.
    pub(super) fn candidates(&self, route: &mut Route) -> Vec<Candidate> {
        route.candidates(&self.url.servers)
    }

    /// The first session that stands. A fatal failure ends the search.
    pub(super) async fn first<'a, T, F>(
        &self,
        route: &mut Route,
        candidates: &'a [Candidate],
        open: impl Fn(&'a Server) -> F,
    ) -> std::result::Result<T, Failure>
    where
        F: Future<Output = std::result::Result<T, Failure>>,
    {
        let mut last = Failure::retryable(codes::MESH_UNREACHABLE, "mesh.url names no server");
        for candidate in candidates {
            let server = &candidate.server;
            match timeout(self.request_timeout, open(server)).await {
                Ok(Ok(session)) => {
                    route.stands(candidate);
                    return Ok(session);
                }
                Ok(Err(failure)) if !failure.is_retryable() => return Err(failure),
                Ok(Err(failure)) => last = failure,
                Err(_) => {
                    last = Failure::retryable(
                        codes::MESH_UNREACHABLE,
                        format!("{server} did not answer within {:?}", self.request_timeout),
                    )
                }
            }
        }
        Err(last)
    }

    /// A connection to the server; with TLS, `protocols` are offered.
    pub(super) async fn socket(&self, server: &Server, protocols: &[&[u8]]) -> std::result::Result<Socket, Failure> {
        let unreachable = |e: std::io::Error| Failure::retryable(codes::MESH_UNREACHABLE, format!("{server} can't be reached")).because(e);
        let tcp = TcpStream::connect((server.host.as_str(), server.port)).await.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        Ok(match &self.tls {
            None => Socket::Plain(tcp),
            Some((config, name)) => {
                let name = ServerName::try_from(name.clone().unwrap_or_else(|| server.host.clone()))
                    .map_err(|_| Failure::fatal(codes::MESH_TLS, format!("`{}` is no name to verify a certificate for", server.host)))?;
                let mut config = rustls::ClientConfig::clone(config);
                config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
                let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
                let tls = connector
                    .connect(name, tcp)
                    .await
                    .map_err(|e| Failure::retryable(codes::MESH_TLS, format!("TLS with {server} failed")).because(e))?;
                Socket::Tls(Box::new(tls))
            }
        })
    }
}
