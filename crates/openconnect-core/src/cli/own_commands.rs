//! Commands of a connector's own, beside those that every connector has.

use clap::ArgMatches;
use futures_util::future::LocalBoxFuture;
use serde_json::Value;

use super::{Cli, Connector, Output, runtime};
use crate::config::Settings;
use crate::error::{Exit, Result};

/// A command of a connector's own, such as `preview`. A connector hands its commands in with its `main`:
/// `openconnect_core::sink_main!(MySink, commands = [&Preview]);`.
///
/// It runs while the connector may be running as another process: it must not use the instance's state folder.
pub trait ConnectorCommand<C>: Sync {
    /// Name, help and arguments. The name must be none of those that every connector has.
    fn command(&self) -> clap::Command;

    /// Runs the command, with the arguments that were given and the configuration, which is valid.
    ///
    /// # Errors
    ///
    /// What kept it from its work; it is printed, and its exit code becomes that of the process.
    fn run<'a>(&'a self, arguments: &'a ArgMatches, cx: CommandContext<'a, C>) -> LocalBoxFuture<'a, Result<Exit>>;
}

/// The commands that a connector hands in.
pub type ConnectorCommands<C> = &'static [&'static dyn ConnectorCommand<C>];

/// What a command gets.
pub struct CommandContext<'a, C> {
    /// The settings that every connector has.
    pub settings: Settings,
    /// The connector's own section.
    pub config: C,
    output: &'a Output,
}

impl<C> CommandContext<'_, C> {
    /// Prints a result to stdout: `json` with `--output json`, else the text.
    pub fn print(&self, json: &Value, text: impl FnOnce() -> String) {
        self.output.result(json, text);
    }
}

pub(super) fn run<C: Connector>(cli: &Cli, own: &dyn ConnectorCommand<C::Config>, arguments: &ArgMatches) -> Result<Exit> {
    let loaded = cli.load::<C>()?;
    cli.logs(&loaded.settings.log)?;
    let runtime = runtime()?;
    let cx = CommandContext {
        settings: loaded.settings,
        config: loaded.connector,
        output: &cli.output,
    };
    let result = runtime.block_on(own.run(arguments, cx));
    runtime.shutdown_background();
    result
}
