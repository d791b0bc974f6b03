//! Where the built binaries are.

use std::path::{Path, PathBuf};

use crate::Result;

/// The path of a binary: in `OPENCONNECT_BIN_DIR`, or in the target folder that the running program was built into.
pub fn path(name: &str) -> Result<PathBuf> {
    let found = match std::env::var_os("OPENCONNECT_BIN_DIR") {
        Some(dir) => PathBuf::from(dir).join(name),
        None => own_folder()?.join(name),
    };
    if !found.is_file() {
        return Err(format!(
            "{} is not built: `cargo build --workspace --bins --examples`, or set OPENCONNECT_BIN_DIR",
            found.display()
        )
        .into());
    }
    Ok(found)
}

/// The target folder that the running program was built into.
pub fn target() -> Result<PathBuf> {
    let folder = own_folder()?;
    Ok(folder.parent().map_or(folder.clone(), Path::to_owned))
}

/// The folder of a profile, such as `target/debug`: the program is in it (`xtask`) or in its `deps` (a test).
fn own_folder() -> Result<PathBuf> {
    let me = std::env::current_exe()?;
    let folder = me.parent().ok_or("the running program has no folder")?;
    let of_test = folder.parent().filter(|_| folder.ends_with("deps"));
    Ok(of_test.unwrap_or(folder).to_owned())
}
