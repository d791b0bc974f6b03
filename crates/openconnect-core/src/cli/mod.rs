//! The command line that every connector's binary has.
//!
//! | file | command |
//! |---|---|
//! | `args` | all arguments |
//! | `run` | `run` |
//! | `check` | `check [--connect]` |
//! | `config` | `config example`, `config schema`, `config show` |
//! | `offsets` | `offsets show`, `offsets set`, `offsets reset` |
//! | `dead_letters` | `dead-letters list`, `dead-letters show`, `dead-letters replay` |
//! | `plan` | `config plan` |
//! | `import_eventmesh` | `import-eventmesh` |
//! | `completions`, `man` | `completions`, `man` |
//! | `systemd` | readiness and watchdog of a service |
//! | `connector` | sources and sinks under one face |
//! | `output` | text for people, JSON for programs |

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::config::{Loaded, LogSettings, Sources, load};
use crate::error::{Error, Exit, Result};
use crate::offsets::SharedOffsets;
use crate::sink::Sink;
use crate::source::Source;
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
mod plan;
mod run;
mod systemd;

use args::{Args, Command};
use connector::{AsSink, AsSource, Connector};
use output::Output;

/// musl's own is slow where one thread frees what another has allocated, as here.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Makes `main` of a source's binary: `openconnect_core::source_main!(MySource);`.
///
/// A source that keeps positions hands in what opens `state.offsets`, so that several processes can share them:
/// `openconnect_core::source_main!(MySource, offsets = openconnect_offsets_sql::SqlOffsets);`.
#[macro_export]
macro_rules! source_main {
    ($source:ty) => {
        $crate::source_main!(@main $source, ::std::option::Option::None);
    };
    ($source:ty, offsets = $offsets:expr) => {
        $crate::source_main!(@main $source, ::std::option::Option::Some(&$offsets));
    };
    (@main $source:ty, $shared:expr) => {
        fn main() -> ::std::process::ExitCode {
            $crate::cli::source::<$source>(::std::env!("CARGO_PKG_VERSION"), $shared, ::std::env::args_os())
        }
    };
}

/// Makes `main` of a sink's binary: `openconnect_core::sink_main!(MySink);`.
#[macro_export]
macro_rules! sink_main {
    ($sink:ty) => {
        fn main() -> ::std::process::ExitCode {
            $crate::cli::sink::<$sink>(::std::env!("CARGO_PKG_VERSION"), ::std::env::args_os())
        }
    };
}

/// The command line of the source `S`; `version` is that of the connector, `shared_offsets` opens `state.offsets`.
pub fn source<S: Source>(
    version: &'static str,
    shared_offsets: Option<&'static dyn SharedOffsets>,
    arguments: impl IntoIterator<Item = OsString>,
) -> ExitCode {
    main::<AsSource<S>>(version, shared_offsets, arguments)
}

/// The command line of the sink `S`; `version` is that of the connector.
pub fn sink<S: Sink>(version: &'static str, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    main::<AsSink<S>>(version, None, arguments)
}

/// What the commands share.
pub(crate) struct Cli {
    args: Args,
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
        let file = self.args.config.clone().or_else(|| default.exists().then_some(default));
        Sources::of_process(file, self.args.set.clone())
    }

    fn logs(&self, settings: &LogSettings) -> Result<()> {
        telemetry::init_logs(settings, self.args.log_level.as_deref())
    }
}

fn main<C: Connector>(
    version: &'static str,
    shared_offsets: Option<&'static dyn SharedOffsets>,
    arguments: impl IntoIterator<Item = OsString>,
) -> ExitCode {
    tls::install_provider();
    let command = command::<C>(version);
    let args = match command
        .try_get_matches_from(arguments)
        .and_then(|matches| Args::from_arg_matches(&matches))
    {
        Ok(args) => args,
        Err(e) => {
            // Help and version are no errors: they go to stdout and end with 0.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { Exit::Config.code() } else { Exit::Clean.code() });
        }
    };
    let output = Output::new(args.output);
    let cli = Cli {
        args,
        output,
        version,
        shared_offsets,
    };
    match execute::<C>(&cli) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            cli.output.error(&error);
            ExitCode::from(error.exit.code())
        }
    }
}

fn command<C: Connector>(version: &'static str) -> clap::Command {
    let kind = C::SECTION.key();
    let name = binary::<C>();
    // The parser keeps names for the whole run; there is one a process.
    let name: &'static str = Box::leak(name.into_boxed_str());
    Args::command()
        .name(name)
        .bin_name(name)
        .version(version)
        .about(format!("The {kind} `{}` for Apache EventMesh", C::NAME))
}

/// The binary's name.
fn binary<C: Connector>() -> String {
    format!("openconnect-{}", C::NAME)
}

fn execute<C: Connector>(cli: &Cli) -> Result<Exit> {
    match &cli.args.command {
        Command::Run => run::run::<C>(cli),
        Command::Check { connect } => check::check::<C>(cli, *connect),
        Command::Config { command } => config::config::<C>(cli, command),
        Command::Offsets { command } => offsets::offsets::<C>(cli, command),
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
        .map_err(|e| Error::unavailable("OC0502", format!("can't start the threads of the process: {e}")))
}
