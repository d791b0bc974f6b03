//! Encrypted connections.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::MeshError;
use crate::config::Tls;

/// An acceptor for the certificate; `alpn` names the protocols that are offered.
pub(crate) fn acceptor(tls: &Tls, alpn: &[&[u8]]) -> Result<TlsAcceptor, MeshError> {
    let wrong = |file: &Path, e: &dyn std::fmt::Display| MeshError::Config(format!("{}: {e}", file.display()));
    let read = |file: &Path| fs::read(file).map_err(|e| wrong(file, &e));
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&read(&tls.certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|e| wrong(&tls.certificate, &e))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&tls.key)?).map_err(|e| wrong(&tls.key, &e))?;
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(&tls.certificate, &e))?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|e| wrong(&tls.certificate, &e))?;
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}
