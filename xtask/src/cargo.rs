//! Cargo, called from a program that cargo runs.

use std::process::Command;

/// The cargo that built this program. Without the variables that describe `xtask` itself: build scripts look at them
/// (ring's does), and all above such a script would be built again each time a person's shell and `xtask` take turns.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let described = name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_BIN_"));
        if described {
            command.env_remove(name);
        }
    }
    command
}

/// Runs it to the end; whether it went well.
pub(crate) fn runs(arguments: &[&str]) -> bool {
    command().args(arguments).status().is_ok_and(|status| status.success())
}
