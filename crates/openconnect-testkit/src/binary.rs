//! Where the built binaries are.

use std::path::PathBuf;

use crate::Result;

/// The path of a binary: in `OPENCONNECT_BIN_DIR`, or in the target folder that the running program was built into.
pub fn path(name: &str) -> Result<PathBuf> {
    let found = match std::env::var_os("OPENCONNECT_BIN_DIR") {
        Some(dir) => PathBuf::from(dir).join(name),
        None => {
            let me = std::env::current_exe()?;
            // target/debug/xtask or target/debug/deps/<test>-<hash>
            let mut dir = me.parent().ok_or("the running program has no folder")?;
            if dir.ends_with("deps") {
                dir = dir.parent().unwrap_or(dir);
            }
            dir.join(name)
        }
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
