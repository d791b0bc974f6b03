use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use openconnect_error::codes::TASK_ENDED;

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
    Settings(#[source] openconnect_error::Error),
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
    /// Opening the mesh ended abnormally, which is a bug.
    #[error("{code}: opening the mesh ended abnormally: {0}", code = TASK_ENDED)]
    Opening(#[source] tokio::task::JoinError),
    /// A tool found no mesh that runs.
    #[error("{code}: the mesh of this folder does not run; start it first: {0}", code = codes::TOOL_REFUSED)]
    NotRunning(#[source] io::Error),
    /// A tool can't read the mesh's answer.
    #[error("{code}: the mesh's answer can't be read: {0}", code = codes::TOOL_REFUSED)]
    Answer(#[source] serde_json::Error),
    /// A tool's request was refused.
    #[error("{code}: {0}", code = codes::TOOL_REFUSED)]
    Refused(String),
}
