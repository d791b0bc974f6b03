//! The gRPC services: `incoming.rs` (connections that do not greet are closed), `publisher.rs`, `consumer.rs` (subscriptions,
//! unsubscribing, heartbeats), `stream.rs` (one subscriber's outgoing events), `answer.rs` (outcomes as attributes).

mod answer;
mod consumer;
mod incoming;
mod publisher;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use openconnect_protocol::grpc::pb::consumer_service_server::ConsumerServiceServer;
use openconnect_protocol::grpc::pb::heartbeat_service_server::HeartbeatServiceServer;
use openconnect_protocol::grpc::pb::publisher_service_server::PublisherServiceServer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::transport::Server;

use crate::broker::Broker;
use stream::Streams;

/// A connection that does not answer a ping within this is dead.
const PING: Duration = Duration::from_secs(20);

/// Largest header list of a call.
const MAX_HEADERS: u32 = 16 << 10;
/// A call's message must have come, and a request's reply, by then. Streams go on.
const MAX_CALL: Duration = Duration::from_secs(660);

pub(crate) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, broker: Arc<Broker>) {
    let limit = broker.config.max_frame();
    let streams = Arc::new(Streams::default());
    let publisher = PublisherServiceServer::new(publisher::Publisher(Arc::clone(&broker)));
    let consumer = ConsumerServiceServer::new(consumer::Consumer {
        broker: Arc::clone(&broker),
        streams: Arc::clone(&streams),
    });
    let heartbeat = HeartbeatServiceServer::new(consumer::Heartbeat {
        broker: Arc::clone(&broker),
        streams,
    });
    let served = Server::builder()
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PING))
        .http2_max_header_list_size(MAX_HEADERS)
        .max_concurrent_streams(broker.config.limits.max_streams)
        .timeout(MAX_CALL)
        .add_service(publisher.max_decoding_message_size(limit).max_encoding_message_size(limit))
        .add_service(consumer.max_decoding_message_size(limit).max_encoding_message_size(limit))
        .add_service(heartbeat.max_decoding_message_size(limit).max_encoding_message_size(limit))
        .serve_with_incoming_shutdown(incoming::accept(listener, tls, &broker), broker.stop.clone().cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "gRPC ended");
    }
}
