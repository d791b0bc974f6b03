//! Folders that other users can't read.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

/// Makes the folder, for this user only, when it is not there. One that is there and open to others is closed to them, or
/// reported when it belongs to somebody else.
pub fn private_folder(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0
        && let Err(error) = fs::set_permissions(path, Permissions::from_mode(mode & 0o700))
    {
        tracing::warn!(folder = %path.display(), %error, "other users may read this folder");
    }
    Ok(())
}
