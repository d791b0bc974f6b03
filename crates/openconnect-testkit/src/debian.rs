//! Programs from Debian's packages, where that is possible.

use std::process::{Command, Stdio};

/// Installs a package; whether it is there now.
pub fn install(package: &str) -> bool {
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        apt.status().is_ok_and(|status| status.success())
    };
    let install = || apt(&["install", "--yes", "--quiet", "--no-install-recommends", package]);
    // A machine that has never asked knows of no packages.
    install() || (apt(&["update", "--quiet"]) && install())
}
