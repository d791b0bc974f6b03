//! Who logs in to a database, and TLS.

use std::path::PathBuf;

use openconnect_core::secret::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who logs in, where the connection string does not say it.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// The user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// TLS; none: what the server offers is taken, and nothing is verified.
    pub tls: Option<SqlTls>,
}

/// TLS to a database.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SqlTls {
    /// How much is asked of the server.
    pub mode: TlsMode,
    /// PEM file with the authorities to trust instead of the system's.
    #[schemars(example = &"/etc/openconnect/tls/ca.pem")]
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client's certificate chain (mTLS).
    #[schemars(example = &"/etc/openconnect/tls/client.pem")]
    pub cert_file: Option<PathBuf>,
    /// PEM file with the client's key (mTLS).
    #[schemars(example = &"/etc/openconnect/tls/client-key.pem")]
    pub key_file: Option<PathBuf>,
}

/// How much is asked of the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// No TLS.
    Disable,
    /// Encrypts without verifying the certificate: protects against eavesdropping, not impersonation.
    Require,
    /// The certificate must come from a known authority.
    VerifyCa,
    /// And it must be for the host.
    #[default]
    VerifyFull,
}

/// A database on a server.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a> {
    /// Name or address.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// The database there.
    pub database: &'a str,
    /// Who logs in.
    pub login: &'a Login,
}
