//! Gives each connection its session.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::session;
use crate::broker::Broker;
use crate::connection::{self, Connection, Stream};

pub(crate) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, broker: Arc<Broker>) {
    let doors = Arc::clone(&broker.tcp);
    let (stop, tasks) = (broker.stop.clone(), broker.tasks.clone());
    let each = move |connection| converse(connection, Arc::clone(&broker));
    connection::accept(listener, tls, doors, stop, tasks, each).await;
}

async fn converse(connection: Connection, broker: Arc<Broker>) {
    let Connection { stream, peer, place } = connection;
    match stream {
        Stream::Plain(stream) => {
            let (reader, writer) = stream.into_split();
            session::run(reader, writer, peer, broker).await;
        }
        Stream::Tls(stream) => {
            let (reader, writer) = tokio::io::split(stream);
            session::run(reader, writer, peer, broker).await;
        }
    }
    drop(place);
}
