//! Starting and stopping.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::broker::Broker;
use crate::config::Config;
use crate::{MeshError, control, grpc, tcp};

/// What is left is cut off when a shutdown takes longer than this.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// A mesh, before it is started.
#[derive(Debug)]
pub struct Mesh;

/// A running mesh. Dropping it stops the mesh without waiting.
#[must_use = "dropping the handle stops the mesh"]
pub struct MeshHandle {
    broker: Arc<Broker>,
    tcp: SocketAddr,
    grpc: Option<SocketAddr>,
}

impl Mesh {
    /// Opens the log and both ports.
    pub async fn start(config: Config) -> Result<MeshHandle, MeshError> {
        if config.check_exposure()? {
            tracing::warn!("names and passwords travel unencrypted beyond this machine: set `tls`");
        }
        let acceptor = |protocols: &[&[u8]]| {
            let acceptor = config.tls.as_ref().map(|tls| tls.server(protocols).map(TlsAcceptor::from));
            acceptor.transpose().map_err(MeshError::Settings)
        };
        let (tcp_tls, grpc_tls) = (acceptor(&[])?, acceptor(&[b"h2"])?);
        let broker = tokio::task::spawn_blocking(move || Broker::open(config))
            .await
            .map_err(MeshError::Opening)??;
        let tcp_listener = listen(broker.config.tcp).await?;
        let tcp = address(&tcp_listener)?;
        let grpc_listener = match broker.config.grpc {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let grpc = grpc_listener.as_ref().map(address).transpose()?;
        broker.tasks.spawn(tcp::listener::serve(tcp_listener, tcp_tls, Arc::clone(&broker)));
        if let Some(listener) = grpc_listener {
            broker.tasks.spawn(grpc::serve(listener, grpc_tls, Arc::clone(&broker)));
        }
        broker.tasks.spawn(Arc::clone(&broker).housekeeping());
        control::spawn(&broker);
        tracing::info!(%tcp, grpc = grpc.map(tracing::field::display), data = %broker.config.data.display(), "mesh is running");
        Ok(MeshHandle { broker, tcp, grpc })
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, MeshError> {
    TcpListener::bind(address).await.map_err(|source| MeshError::Listen {
        address: address.to_string(),
        source,
    })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, MeshError> {
    listener.local_addr().map_err(|source| MeshError::Listen {
        address: "?".to_owned(),
        source,
    })
}

impl MeshHandle {
    /// Where the TCP protocol is served.
    #[must_use]
    pub fn tcp_addr(&self) -> SocketAddr {
        self.tcp
    }

    /// Where the gRPC protocol is served.
    #[must_use]
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc
    }

    /// Says goodbye to all clients, finishes what is being committed, saves the cursors.
    pub async fn shutdown(self) {
        self.broker.stopping.store(true, Ordering::Release);
        self.broker.stop.cancel();
        self.broker.tasks.close();
        if tokio::time::timeout(SHUTDOWN, self.broker.tasks.wait()).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        let topics = self.broker.all_topics();
        let saved = tokio::task::spawn_blocking(move || topics.iter().for_each(|t| t.save_cursors())).await;
        if let Err(error) = saved {
            tracing::error!(%error, "could not save the cursors");
        }
    }
}

impl Drop for MeshHandle {
    fn drop(&mut self) {
        self.broker.stop.cancel();
    }
}
