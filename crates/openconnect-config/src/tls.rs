//! TLS for clients and servers: rustls with ring, one way to configure it everywhere.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openconnect_error::{BoxError, Error, Result};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::codes;

/// TLS of a client.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// PEM file with the authorities to trust instead of the system's.
    #[schemars(example = &"/etc/openconnect/tls/ca.pem")]
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client's certificate chain (mTLS).
    #[schemars(example = &"/etc/openconnect/tls/client.pem")]
    pub cert_file: Option<PathBuf>,
    /// PEM file with the client's key (mTLS).
    #[schemars(example = &"/etc/openconnect/tls/client-key.pem")]
    pub key_file: Option<PathBuf>,
    /// Name to verify instead of the URL's host.
    #[schemars(example = &"mesh.example.org", extend("x-instead-of" = "the URL's host"))]
    pub server_name: Option<String>,
}

/// TLS of a server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsServerSettings {
    /// PEM file with the server's certificate chain.
    #[schemars(example = &"/etc/openconnect/tls/server.pem")]
    pub cert_file: PathBuf,
    /// PEM file with the server's key.
    #[schemars(example = &"/etc/openconnect/tls/server-key.pem")]
    pub key_file: PathBuf,
    /// PEM file with the authorities whose clients are let in; present means that clients need a certificate (mTLS).
    #[schemars(example = &"/etc/openconnect/tls/clients.pem")]
    pub client_ca_file: Option<PathBuf>,
}

impl TlsSettings {
    /// A client configuration; errors name the file.
    pub fn client(&self) -> Result<Arc<ClientConfig>> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(wrong)?
            .with_root_certificates(self.roots()?);
        let config = match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => builder.with_client_auth_cert(certificates(cert)?, private_key(key)?).map_err(|e| {
                Error::config(
                    codes::TLS_UNUSABLE,
                    format!("{} and {} don't go together", cert.display(), key.display()),
                )
                .because(e)
            })?,
            (None, None) => builder.with_no_client_auth(),
            _ => {
                return Err(Error::config(
                    codes::TLS_UNUSABLE,
                    "tls.cert_file and tls.key_file come together or not at all",
                ));
            }
        };
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        match &self.ca_file {
            Some(file) => {
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|e| unusable(file, e))?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    return Err(
                        Error::config(codes::TLS_UNUSABLE, "this system has no certificate authorities to trust").hint("Set tls.ca_file."),
                    );
                }
            }
        }
        Ok(roots)
    }
}

impl TlsServerSettings {
    /// A server configuration offering `alpn`; errors name the file.
    pub fn server(&self, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(wrong)?;
        let builder = match &self.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|e| unusable(file, e))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
                    .build()
                    .map_err(|e| unusable(file, e))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let (cert, key) = (&self.cert_file, &self.key_file);
        let mut config = builder.with_single_cert(certificates(cert)?, private_key(key)?).map_err(|e| {
            Error::config(
                codes::TLS_UNUSABLE,
                format!("{} and {} don't go together", cert.display(), key.display()),
            )
            .because(e)
        })?;
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

/// A client configuration that trusts nobody: for clients that must be given one and speak plain text.
pub fn without_roots() -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(wrong)?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn wrong(error: rustls::Error) -> Error {
    Error::config(codes::TLS_UNUSABLE, "TLS can't be set up").because(error)
}

fn unusable(file: &Path, error: impl Into<BoxError>) -> Error {
    Error::config(codes::TLS_UNUSABLE, format!("{} can't be used", file.display()))
        .because(error)
        .hint("It must be a readable PEM file of the right kind.")
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: std::result::Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).map_err(|e| unusable(file, e))?.collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(unusable(file, "it holds no certificate")),
        Ok(certificates) => Ok(certificates),
        Err(e) => Err(unusable(file, e)),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(file).map_err(|e| unusable(file, e))
}

/// Is `host` this machine, so that nobody can listen or pretend on the way? `localhost` and the addresses of loopback.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Makes ring the process's TLS provider. `main` calls it before anything else.
pub fn install_provider() {
    // A second call finds the provider in place: nothing to do.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for host in [
            "localhost",
            "LOCALHOST.",
            "db.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "[::1]",
            "::ffff:127.0.0.1",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "db",
            "localhost.example.org",
            "notlocalhost",
            "10.0.0.1",
            "0.0.0.0",
            "::",
            "128.0.0.1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_wrong_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let client = |ca: &Path| {
            TlsSettings {
                ca_file: Some(ca.to_owned()),
                ..Default::default()
            }
            .client()
        };
        client(&cert).unwrap();
        assert!(client(&key).unwrap_err().reason().contains("key.pem"));
        assert!(client(&dir.path().join("absent.pem")).unwrap_err().reason().contains("absent.pem"));
        TlsServerSettings {
            cert_file: cert.clone(),
            key_file: key,
            client_ca_file: Some(cert),
        }
        .server(&[b"h2"])
        .unwrap();
    }
}
