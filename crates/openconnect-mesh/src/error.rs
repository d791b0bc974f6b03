use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::codes;

/// Why a mesh could not start or a tool could not look.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeshError {
    /// A setting is wrong.
    #[error("{code}: {0}", code = codes::SETTING_INVALID)]
    Config(String),
    /// The configuration has mistakes, or a certificate can't be used.
    #[error("{0:#}")]
    Settings(openconnect_error::Error),
    /// Everybody could reach the mesh.
    #[error("{code}: refused to listen on {0}: anybody who reaches it could publish and read everything; set `users` or `tls.client_ca_file`, or `allow_anonymous: true`", code = codes::EXPOSED)]
    Exposed(SocketAddr),
    /// An address could not be listened on.
    #[error("{code}: cannot listen on {address}: {source}", code = codes::LISTEN_FAILED)]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error("{code}: {}: {source}", path.display(), code = codes::FILE_FAILED)]
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
    #[error("{code}: {0}", code = codes::TOOL_REFUSED)]
    Refused(String),
}
