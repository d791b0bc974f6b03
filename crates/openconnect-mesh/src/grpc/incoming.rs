//! Connections for gRPC. Whoever does not begin to speak HTTP/2 in time is closed; after that, pings find the dead.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::broker::Broker;
use crate::connection::{self, Connection, Stream};

/// What an HTTP/2 client says first has so many bytes.
const PREFACE: usize = 24;

pub(crate) struct Incoming {
    connection: Connection,
    /// Until the client has greeted: when it must have, and the bytes that came.
    greeting: Option<(Pin<Box<Sleep>>, usize)>,
}

pub(crate) fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, broker: &Arc<Broker>) -> ReceiverStream<io::Result<Incoming>> {
    let (ready, connections) = mpsc::channel(64);
    let limit = broker.config.limits.handshake_timeout;
    let each = move |connection| {
        let ready = ready.clone();
        async move {
            let greeting = Some((Box::pin(tokio::time::sleep(limit)), 0));
            // Fails only when the mesh stops.
            let _ = ready.send(Ok(Incoming { connection, greeting })).await;
        }
    };
    let (doors, stop, tasks) = (Arc::clone(&broker.grpc), broker.stop.clone(), broker.tasks.clone());
    broker.tasks.spawn(connection::accept(listener, tls, doors, stop, tasks, each));
    ReceiverStream::new(connections)
}

impl Connected for Incoming {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl Incoming {
    fn poll_stream(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.connection.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncRead for Incoming {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = self.poll_stream(cx, buf);
        let Some((deadline, heard)) = &mut self.greeting else {
            return polled;
        };
        *heard += buf.filled().len() - before;
        if *heard >= PREFACE {
            self.greeting = None;
        } else if polled.is_pending() && deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl AsyncWrite for Incoming {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.connection.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.connection.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.connection.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
