//! `dead-letters list|show|replay`.

use super::args::DeadLettersCommand;
use super::{Cli, Connector};
use crate::error::{Error, Exit, Result};

pub(crate) fn dead_letters<C: Connector>(cli: &Cli, command: &DeadLettersCommand) -> Result<Exit> {
    let settings = cli.load::<C>()?.settings;
    cli.logs(&settings.log)?;
    let _ = command;
    Err(Error::unavailable("OC0508", "not built yet"))
}
