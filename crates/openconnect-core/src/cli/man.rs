//! `man`: the manual page, in roff.

use super::{Cli, Connector, command};
use crate::error::{Error, Exit, Result};
use openconnect_error::codes::NO_THREAD;

pub(crate) fn man<C: Connector>(cli: &Cli) -> Result<Exit> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command::<C>(cli.version, &cli.own_commands))
        .render(&mut page)
        .map_err(|e| Error::unavailable(NO_THREAD, "can't write the manual page").because(e))?;
    cli.output.line(String::from_utf8_lossy(&page).trim_end());
    Ok(Exit::Clean)
}
