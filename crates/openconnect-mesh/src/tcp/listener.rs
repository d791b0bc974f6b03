//! Accepts connections, up to a limit, and gives each a task.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::session;
use crate::broker::Broker;

pub(crate) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, broker: Arc<Broker>) {
    let places = Arc::new(Semaphore::new(broker.config.limits.max_connections));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = broker.stop.cancelled() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, for instance: it would only fail again at once.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%peer, "closed: the most connections that are allowed are open");
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "no TCP_NODELAY");
        }
        let (broker, tls) = (Arc::clone(&broker), tls.clone());
        broker.tasks.clone().spawn(async move {
            match tls {
                None => {
                    let (reader, writer) = stream.into_split();
                    session::run(reader, writer, peer, broker).await;
                }
                Some(tls) => {
                    let limit = std::time::Duration::from_secs(10);
                    match tokio::time::timeout(limit, tls.accept(stream)).await {
                        Ok(Ok(stream)) => {
                            let (reader, writer) = tokio::io::split(stream);
                            session::run(reader, writer, peer, broker).await;
                        }
                        Ok(Err(error)) => tracing::warn!(%peer, %error, "closed: no TLS handshake"),
                        Err(_) => tracing::warn!(%peer, "closed: the TLS handshake took too long"),
                    }
                }
            }
            drop(place);
        });
    }
}
