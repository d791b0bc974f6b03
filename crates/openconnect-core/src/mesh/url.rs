//! `mesh.url`: a transport and the servers to try, in order.

use std::fmt;

use crate::error::{Error, Result};

/// How the mesh is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Grpc,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The parsed URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MeshUrl {
    pub(crate) transport: Transport,
    pub(crate) tls: bool,
    pub(crate) servers: Vec<Server>,
}

impl MeshUrl {
    /// Parses `tcp://host:10000[,host2:10000]`, `tcps://`, `grpc://`, `grpcs://`. Without a port: 10000 and 10205.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        let (transport, tls, default_port) = match scheme {
            "tcp" => (Transport::Tcp, false, 10_000),
            "tcps" => (Transport::Tcp, true, 10_000),
            "grpc" => (Transport::Grpc, false, 10_205),
            "grpcs" => (Transport::Grpc, true, 10_205),
            _ => return Err(wrong("has an unknown scheme")),
        };
        if rest.contains('@') {
            return Err(wrong("carries credentials").hint("Use mesh.username and mesh.password."));
        }
        let servers: Result<Vec<Server>> = rest
            .trim_end_matches('/')
            .split(',')
            .map(|part| server(part.trim(), default_port))
            .collect();
        Ok(Self {
            transport,
            tls,
            servers: servers?,
        })
    }
}

fn wrong(what: &str) -> Error {
    Error::config("OC0302", format!("mesh.url {what}"))
        .hint("Write tcp://host:10000 or grpc://host:10205; tcps and grpcs with TLS; several servers with commas.")
}

fn server(part: &str, default_port: u16) -> Result<Server> {
    let (host, port) = match part.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => part.rsplit_once(':').map_or((part, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() || host.contains('/') {
        return Err(wrong("names no host"));
    }
    let port = port.map_or(Ok(default_port), |port| {
        port.parse().map_err(|_| wrong("has a port that is no number from 1 to 65535"))
    })?;
    Ok(Server {
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn several_servers_and_default_ports() {
        let url = MeshUrl::parse("tcp://a:1, b,[::1]:7").unwrap();
        assert_eq!(
            url.servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["a:1", "b:10000", "[::1]:7"]
        );
        for bad in ["a:1", "http://a", "tcp://", "tcp://a:x", "tcp://u:p@a"] {
            assert_eq!(MeshUrl::parse(bad).unwrap_err().code, "OC0302", "{bad}");
        }
    }
}
