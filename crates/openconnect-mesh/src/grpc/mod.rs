//! The gRPC services.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::broker::Broker;

#[derive(Default)]
pub(crate) struct Streams;

pub(crate) async fn serve(_listener: TcpListener, _tls: Option<TlsAcceptor>, broker: Arc<Broker>) {
    broker.stop.cancelled().await;
}
