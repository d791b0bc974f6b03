use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a mesh could not start or a tool could not look.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeshError {
    /// A setting is wrong.
    #[error("OC0601: {0}")]
    Config(String),
    /// The configuration has mistakes, or a certificate can't be used.
    #[error("{0}")]
    Settings(openconnect_config::Error),
    /// Everybody could reach the mesh.
    #[error(
        "OC0610: refused to listen on {0}: anybody who reaches it could publish and read everything; set `users` or `tls.client_ca_file`, or `allow_anonymous: true`"
    )]
    Exposed(SocketAddr),
    /// An address could not be listened on.
    #[error("OC0602: cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error("OC0603: {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A topic's log could not be opened.
    #[error(transparent)]
    Journal(#[from] openconnect_journal::JournalError),
    /// A tool's request was refused.
    #[error("OC0604: {0}")]
    Refused(String),
}
