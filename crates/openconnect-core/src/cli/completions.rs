//! `completions`: for bash, zsh, fish, elvish and PowerShell.

use clap_complete::{Shell, generate};

use super::{Cli, Connector, binary, command};
use crate::error::{Exit, Result};

pub(crate) fn completions<C: Connector>(cli: &Cli, shell: Shell) -> Result<Exit> {
    let mut text = Vec::new();
    generate(shell, &mut command::<C>(cli.version, &cli.own_commands), binary::<C>(), &mut text);
    cli.output.line(String::from_utf8_lossy(&text).trim_end());
    Ok(Exit::Clean)
}
