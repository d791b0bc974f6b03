//! The command line that every connector's binary has.
//!
//! | file | command |
//! |---|---|
//! | `args` | all arguments |
//! | `run` | `run`, `inbox drain` |
//! | `check` | `check [--connect]` |
//! | `config` | `config example`, `config schema`, `config show` |
//! | `offsets` | `offsets show`, `offsets set`, `offsets reset` |
//! | `dead_letters` | `dead-letters list`, `dead-letters show`, `dead-letters replay` |
//! | `plan` | `config plan` |
//! | `import_eventmesh` | `import-eventmesh` |
//! | `completions`, `man` | `completions`, `man` |
//! | `systemd` | readiness and watchdog of a service |
//! | `own_commands` | commands that a connector adds |
//! | `connector` | sources and sinks under one face |
//! | `output` | text for people, JSON for programs |

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use openconnect_error::codes::NO_THREAD;

use crate::config::{Loaded, LogSettings, Sources, load};
use crate::error::{Error, Exit, Result};
use crate::offsets::SharedOffsets;
use crate::sink::Sink;
use crate::source::Source;
use crate::staging::StagingSink;
use crate::{telemetry, tls};

mod args;
mod check;
mod completions;
mod config;
mod connector;
mod dead_letters;
mod import_eventmesh;
mod man;
mod offsets;
mod output;
mod own_commands;
mod plan;
mod run;
mod systemd;

use args::{Args, Command, InboxCommand, Options};
use connector::{AsSink, AsSource, AsStagingSink, Connector};
use output::Output;

pub use own_commands::{CommandContext, ConnectorCommand, ConnectorCommands};

/// musl's own is slow where one thread frees what another has allocated, as here.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Makes `main` of a source's binary: `openconnect_core::source_main!(MySource);`.
///
/// A source that keeps positions hands in what opens `state.offsets`, so that several processes can share them:
/// `openconnect_core::source_main!(MySource, offsets = openconnect_offsets_sql::SqlOffsets);`.
///
/// A source with commands of its own hands them in last: `openconnect_core::source_main!(MySource, commands = [&Preview]);`, or
/// `openconnect_core::source_main!(MySource, offsets = SqlOffsets, commands = [&Preview]);`, see [`ConnectorCommand`].
#[macro_export]
macro_rules! source_main {
    ($source:ty) => {
        $crate::source_main!($source, commands = []);
    };
    ($source:ty, offsets = $offsets:expr) => {
        $crate::source_main!($source, offsets = $offsets, commands = []);
    };
    ($source:ty, commands = [$($command:expr),*]) => {
        $crate::source_main!(@main $source, ::std::option::Option::None, [$($command),*]);
    };
    ($source:ty, offsets = $offsets:expr, commands = [$($command:expr),*]) => {
        $crate::source_main!(@main $source, ::std::option::Option::Some(&$offsets), [$($command),*]);
    };
    (@main $source:ty, $shared:expr, [$($command:expr),*]) => {
        fn main() -> ::std::process::ExitCode {
            $crate::cli::source::<$source>(::std::env!("CARGO_PKG_VERSION"), $shared, &[$($command),*], ::std::env::args_os())
        }
    };
}

/// Makes `main` of a sink's binary: `openconnect_core::sink_main!(MySink);`. A sink with commands of its own hands them in:
/// `openconnect_core::sink_main!(MySink, commands = [&Preview]);`, see [`ConnectorCommand`].
#[macro_export]
macro_rules! sink_main {
    ($sink:ty) => {
        $crate::sink_main!($sink, commands = []);
    };
    ($sink:ty, commands = [$($command:expr),*]) => {
        fn main() -> ::std::process::ExitCode {
            $crate::cli::sink::<$sink>(::std::env!("CARGO_PKG_VERSION"), &[$($command),*], ::std::env::args_os())
        }
    };
}

/// Makes `main` of a staging sink's binary: `openconnect_core::staging_sink_main!(MySink);`. Commands of its own are handed in as a sink's are:
/// `openconnect_core::staging_sink_main!(MySink, commands = [&Preview]);`.
#[macro_export]
macro_rules! staging_sink_main {
    ($sink:ty) => {
        $crate::staging_sink_main!($sink, commands = []);
    };
    ($sink:ty, commands = [$($command:expr),*]) => {
        fn main() -> ::std::process::ExitCode {
            $crate::cli::staging_sink::<$sink>(::std::env!("CARGO_PKG_VERSION"), &[$($command),*], ::std::env::args_os())
        }
    };
}

/// The command line of the source `S`; `version` is that of the connector, `shared_offsets` opens `state.offsets`, `commands` are its own.
pub fn source<S: Source>(
    version: &'static str,
    shared_offsets: Option<&'static dyn SharedOffsets>,
    commands: ConnectorCommands<S::Config>,
    arguments: impl IntoIterator<Item = OsString>,
) -> ExitCode {
    main::<AsSource<S>>(version, shared_offsets, commands, arguments)
}

/// The command line of the sink `S`; `version` is that of the connector, `commands` are its own.
pub fn sink<S: Sink>(
    version: &'static str,
    commands: ConnectorCommands<S::Config>,
    arguments: impl IntoIterator<Item = OsString>,
) -> ExitCode {
    main::<AsSink<S>>(version, None, commands, arguments)
}

/// The command line of the staging sink `S`; `version` is that of the connector, `commands` are its own.
pub fn staging_sink<S: StagingSink>(
    version: &'static str,
    commands: ConnectorCommands<S::Config>,
    arguments: impl IntoIterator<Item = OsString>,
) -> ExitCode {
    main::<AsStagingSink<S>>(version, None, commands, arguments)
}

/// What the commands share.
pub(crate) struct Cli {
    options: Options,
    /// The commands that the connector adds, for manual page and completions.
    own_commands: Vec<clap::Command>,
    output: Output,
    version: &'static str,
    shared_offsets: Option<&'static dyn SharedOffsets>,
}

impl Cli {
    /// Loads the configuration and starts logging.
    fn load<C: Connector>(&self) -> Result<Loaded<C::Config>, Error> {
        match load(&self.sources(), C::SECTION) {
            Ok(loaded) => Ok(loaded),
            Err(rejected) => {
                self.output.problems(&rejected.problems);
                Err(rejected.into())
            }
        }
    }

    fn sources(&self) -> Sources {
        let default = PathBuf::from("openconnect.yaml");
        let file = self.options.config.clone().or_else(|| default.exists().then_some(default));
        Sources::of_process(file, self.options.set.clone())
    }

    fn logs(&self, settings: &LogSettings) -> Result<()> {
        telemetry::init_logs(settings, self.options.log_level.as_deref())
    }
}

fn main<C: Connector>(
    version: &'static str,
    shared_offsets: Option<&'static dyn SharedOffsets>,
    commands: ConnectorCommands<C::Config>,
    arguments: impl IntoIterator<Item = OsString>,
) -> ExitCode {
    tls::install_provider();
    let own_commands: Vec<clap::Command> = commands.iter().map(|own| own.command()).collect();
    let parsed = command::<C>(version, &own_commands)
        .try_get_matches_from(arguments)
        .and_then(|matches| Ok((Options::from_arg_matches(&matches)?, matches)));
    let (options, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(e) => {
            // Help and version are no errors: they go to stdout and end with 0.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { Exit::Config.code() } else { Exit::Clean.code() });
        }
    };
    let output = Output::new(options.output);
    let cli = Cli {
        options,
        own_commands,
        output,
        version,
        shared_offsets,
    };
    let own = commands.iter().zip(&cli.own_commands).find_map(|(own, command)| {
        let arguments = matches.subcommand_matches(command.get_name())?;
        Some((own, arguments))
    });
    let result = match own {
        Some((own, arguments)) => own_commands::run::<C>(&cli, *own, arguments),
        None => match Args::from_arg_matches(&matches) {
            Ok(args) => execute::<C>(&cli, &args.command),
            Err(e) => {
                let _ = e.print();
                return ExitCode::from(Exit::Config.code());
            }
        },
    };
    match result {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            cli.output.error(&error);
            ExitCode::from(error.exit.code())
        }
    }
}

fn command<C: Connector>(version: &'static str, own_commands: &[clap::Command]) -> clap::Command {
    let kind = C::SECTION.key();
    let name = binary::<C>();
    // The parser keeps names for the whole run; there is one a process.
    let name: &'static str = Box::leak(name.into_boxed_str());
    Args::command()
        .name(name)
        .bin_name(name)
        .version(version)
        .about(format!("The {kind} `{}` for Apache EventMesh", C::NAME))
        .subcommands(own_commands.iter().cloned())
}

/// The binary's name.
fn binary<C: Connector>() -> String {
    format!("openconnect-{}", C::NAME)
}

fn execute<C: Connector>(cli: &Cli, command: &Command) -> Result<Exit> {
    match command {
        Command::Run => run::run::<C>(cli),
        Command::Check { connect } => check::check::<C>(cli, *connect),
        Command::Config { command } => config::config::<C>(cli, command),
        Command::Offsets { command } => C::offsets(cli, command),
        Command::Inbox {
            command: InboxCommand::Drain,
        } => run::drain::<C>(cli),
        Command::DeadLetters { command } => dead_letters::dead_letters::<C>(cli, command),
        Command::ImportEventmesh { file } => import_eventmesh::import::<C>(cli, file),
        Command::Man => man::man::<C>(cli),
        Command::Completions { shell } => completions::completions::<C>(cli, *shell),
    }
}

/// A runtime with few, small threads: a connector waits most of the time.
fn runtime() -> Result<tokio::runtime::Runtime> {
    const STACK: usize = 1 << 20;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.clamp(1, 2))
        .max_blocking_threads(16)
        .thread_stack_size(STACK)
        .thread_name("openconnect")
        .enable_all()
        .build()
        .map_err(|e| Error::unavailable(NO_THREAD, "can't start the threads of the process").because(e))
}
