//! TLS for clients and servers: rustls with ring, one way to configure it everywhere.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::error::{Error, Result};

/// TLS of a client.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// PEM file with the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client's certificate chain (mTLS).
    pub cert_file: Option<PathBuf>,
    /// PEM file with the client's key (mTLS).
    pub key_file: Option<PathBuf>,
    /// Name to verify instead of the URL's host.
    pub server_name: Option<String>,
}

/// TLS of a server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsServerSettings {
    /// PEM file with the server's certificate chain.
    pub cert_file: PathBuf,
    /// PEM file with the server's key.
    pub key_file: PathBuf,
    /// PEM file with the authorities whose clients are let in; present means that clients need a certificate (mTLS).
    pub client_ca_file: Option<PathBuf>,
}

impl TlsSettings {
    /// A client configuration; errors name the file.
    pub fn client(&self) -> Result<Arc<rustls::ClientConfig>> {
        Err(Error::config("OC0120", "not built yet"))
    }
}

impl TlsServerSettings {
    /// A server configuration offering `alpn`; errors name the file.
    pub fn server(&self, alpn: &[&[u8]]) -> Result<Arc<rustls::ServerConfig>> {
        let _ = alpn;
        Err(Error::config("OC0120", "not built yet"))
    }
}

/// Makes ring the process's TLS provider. `main` calls it before anything else.
pub fn install_provider() {
    // A second call finds the provider in place: nothing to do.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
