//! What this machine offers: another user to run as, and which faults can't be made here.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use super::clock;
use super::fault::Fault;

/// `nobody` of every Linux.
const NOBODY: u32 = 65_534;

/// A user for whom a folder can be read-only; none when the one who runs this is no superuser, or when the binaries are out
/// of that user's reach.
pub(super) fn unprivileged() -> Option<u32> {
    is_root().then_some(NOBODY).filter(|_| *REACHABLE)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

static REACHABLE: LazyLock<bool> = LazyLock::new(|| {
    let Ok(binary) = crate::binary::path("openconnect-mesh") else {
        return false;
    };
    let mut command = Command::new(binary);
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .uid(NOBODY)
        .gid(NOBODY);
    command.status().is_ok_and(|status| status.success())
});

/// What can't be done here, and why.
pub(super) fn missing(fault: &Fault) -> Option<(&'static str, &'static str)> {
    match fault {
        Fault::Clock { .. } if clock::library().is_none() => Some(("clock jumps", "libfaketime is not installed")),
        Fault::ReadOnly { .. } if is_root() && unprivileged().is_none() => Some((
            "a read-only state folder",
            "the binaries are out of the reach of an unprivileged user",
        )),
        _ => None,
    }
}
