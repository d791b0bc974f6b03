//! Who logs in to a database, and TLS.

use std::path::PathBuf;

use openconnect_core::config::NO_EFFECT;
use openconnect_core::secret::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who logs in, and how: settings beside the URL, in the section of a connector that speaks SQL (`#[serde(flatten)]`).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub struct Login {
    /// User; goes before one in the URL.
    #[schemars(example = &"openconnect", extend("x-effect" = NO_EFFECT))]
    pub user: Option<String>,
    /// Password; goes before one in the URL.
    #[schemars(example = &"${env:DATABASE_PASSWORD:-change-me}", extend("x-effect" = NO_EFFECT))]
    pub password: Option<Secret>,
    /// TLS to the server. Absent: the server must show a valid certificate (`mode: verify-full`), unless it is on this machine; nothing
    /// is verified there.
    #[schemars(extend("x-effect" = NO_EFFECT))]
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
