//! `mesh.url`: a transport and the servers to try, in order.

use std::fmt;

/// EventMesh's port for TCP.
const TCP_PORT: u16 = 10_000;
/// EventMesh's port for gRPC.
const GRPC_PORT: u16 = 10_205;

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
    /// Parses `tcp://host:10000[,host2:10000]`, `tcps://`, `grpc://`, `grpcs://`. A server without a port has its protocol's: 10000 or
    /// 10205.
    ///
    /// # Errors
    /// What is wrong, for people; behind the name of the setting.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err("has no scheme; write tcp://host:10000 or grpc://host:10205".to_owned());
        };
        let (transport, tls, default_port) = match scheme {
            "tcp" => (Transport::Tcp, false, TCP_PORT),
            "tcps" => (Transport::Tcp, true, TCP_PORT),
            "grpc" => (Transport::Grpc, false, GRPC_PORT),
            "grpcs" => (Transport::Grpc, true, GRPC_PORT),
            _ => return Err("has an unknown scheme; one of tcp, tcps, grpc, grpcs".to_owned()),
        };
        if rest.contains('@') {
            return Err("holds a user name; it belongs to `mesh.username` and `mesh.password`".to_owned());
        }
        let servers: Result<Vec<Server>, String> = rest
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

fn server(part: &str, default_port: u16) -> Result<Server, String> {
    let invalid = || format!("`{part}` is not a host, nor host:port");
    let (host, port) = match part.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(invalid)?;
            match rest.strip_prefix(':') {
                None if rest.is_empty() => (host, None),
                None => return Err(invalid()),
                port => (host, port),
            }
        }
        None => part.split_once(':').map_or((part, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() || host.contains(['/', '?', '#']) || host.contains(char::is_whitespace) {
        return Err(invalid());
    }
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(invalid)?,
    };
    Ok(Server {
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn servers(url: &str) -> Vec<String> {
        MeshUrl::parse(url).unwrap().servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_server_without_a_port_has_that_of_its_protocol() {
        assert_eq!(servers("tcp://a:1, b,[::1]:7"), ["a:1", "b:10000", "[::1]:7"]);
        assert_eq!(servers("tcps://a"), ["a:10000"]);
        assert_eq!(servers("grpc://a/"), ["a:10205"]);
        assert_eq!(servers("grpcs://a,[::1]"), ["a:10205", "[::1]:10205"]);
    }

    #[test]
    fn what_names_no_server_is_refused() {
        for bad in [
            "a:1",
            "http://a",
            "tcp://",
            "tcp://a:x",
            "tcp://a:0",
            "tcp://a:",
            "tcp://a,",
            "tcp://u:p@a",
            "tcp://a/b",
            "tcp://::1",
            "tcp://[::1]7",
        ] {
            assert!(MeshUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
