//! A small HTTP client: one connection, bounded answers, bounded waits.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::http::{HeaderMap, StatusCode};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Result;

const LARGEST_ANSWER: usize = 8 << 20;

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A client of one address that keeps its connection.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    within: Duration,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// A client; `within` bounds every request.
    pub fn new(address: SocketAddr, within: Duration) -> Self {
        Self {
            address,
            within,
            connection: None,
        }
    }

    /// Sends one request. After an error it is open whether the server got it.
    pub async fn send(&mut self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Answer> {
        let connection = self.connection.take();
        let (connection, answer) = tokio::time::timeout(self.within, exchange(self.address, connection, method, path, headers, body))
            .await
            .map_err(|_| format!("{}{path}: no answer within {:?}", self.address, self.within))??;
        self.connection = Some(connection);
        Ok(answer)
    }

    /// POSTs a body of a type.
    pub async fn post(&mut self, path: &str, content_type: &str, body: impl Into<Bytes>) -> Result<Answer> {
        self.send(Method::POST, path, &[("content-type", content_type)], body.into()).await
    }
}

type Exchanged = (SendRequest<Full<Bytes>>, Answer);

async fn exchange(
    address: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<Exchanged> {
    let mut kept = connection;
    if let Some(open) = &mut kept
        && open.ready().await.is_err()
    {
        kept = None;
    }
    let mut connection = match kept {
        Some(open) => open,
        None => connect(address).await?,
    };
    let mut request = Request::builder().method(method).uri(path).header("host", address.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = connection.send_request(request.body(Full::new(body))?).await?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, LARGEST_ANSWER).collect().await?.to_bytes();
    Ok((
        connection,
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        },
    ))
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Ends with the sender.
    tokio::spawn(connection);
    Ok(sender)
}

/// One GET on a connection of its own.
pub async fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    Client::new(address, Duration::from_secs(5))
        .send(Method::GET, path, &[("connection", "close")], Bytes::new())
        .await
}
