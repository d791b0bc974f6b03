//! All arguments.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

const EXIT_CODES: &str = "\
Exit codes:
  0   everything that was taken is delivered; the check passed
  69  the mesh, the target, the state folder or the admin address is missing or refuses
  70  stopped with undelivered events: they are in the inbox or before the offset, the next start delivers them
  78  the configuration or the command line is wrong

Every error has a code with a page in docs/errors.";

/// The arguments. Name, version and description are set at run time.
#[derive(Debug, Parser)]
#[command(after_help = EXIT_CODES, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    /// Those of every command.
    #[command(flatten)]
    pub(crate) options: Options,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Arguments of every command.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Configuration: YAML, or TOML by its extension; `-` reads YAML from standard input. Without it `openconnect.yaml` in the current folder, where there is one.
    #[arg(long, short, global = true, value_name = "FILE", env = "OPENCONNECT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Sets one value over file and environment, e.g. `mesh.topic=orders`; lists and sections as JSON. For secrets use the
    /// environment or `${file:…}`: other users can see a process's arguments.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// How results and errors are printed.
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub(crate) output: Format,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,openconnect_core=debug`.
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
}

/// How results and errors are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the connector until SIGTERM or Ctrl-C.
    Run,
    /// Checks the configuration and says which delivery guarantee it gives.
    Check {
        /// Also connects to the mesh and to the system, without delivering anything.
        #[arg(long)]
        connect: bool,
    },
    /// Shows configuration.
    Config {
        /// What to show.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Shows and changes where a source resumes. The connector must not run meanwhile.
    Offsets {
        /// What to do.
        #[command(subcommand)]
        command: OffsetsCommand,
    },
    /// Delivers what a sink's inbox, or a source's spool, holds; answers what the inbox of a source's input holds.
    Inbox {
        /// What to do.
        #[command(subcommand)]
        command: InboxCommand,
    },
    /// Shows and replays events that could not be delivered.
    DeadLetters {
        /// What to do.
        #[command(subcommand)]
        command: DeadLettersCommand,
    },
    /// Makes a configuration out of one of EventMesh's Java connectors, and names what has no counterpart.
    ImportEventmesh {
        /// Its `source-config.yml` or `sink-config.yml`.
        file: PathBuf,
    },
    /// Prints the manual page.
    Man,
    /// Prints the completions of a shell.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: Shell,
    },
}

/// `config …`
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ConfigCommand {
    /// A commented file with every setting.
    Example,
    /// The JSON Schema of the file, for editors.
    Schema,
    /// What file, environment and flags give together, without secrets.
    Show,
    /// What it means to go from one configuration to another: what is read again, repeated or left out.
    Plan {
        /// The file that is in use.
        old: PathBuf,
        /// The file that is to be used.
        new: PathBuf,
    },
}

/// `offsets …`
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum OffsetsCommand {
    /// The position of every partition.
    Show,
    /// Sets the position of one partition.
    Set {
        /// The partition, as `offsets show` names it.
        partition: String,
        /// The position as JSON, as `offsets show` prints it.
        position: String,
    },
    /// Forgets the position of one partition, or of all: the source starts there as if for the first time.
    Reset {
        /// The partition.
        #[arg(required_unless_present = "all")]
        partition: Option<String>,
        /// All partitions.
        #[arg(long, conflicts_with = "partition")]
        all: bool,
    },
}

/// `inbox …`
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum InboxCommand {
    /// Delivers everything in the inbox and ends; nothing new is taken: for a replica that goes for good. Open files and digests are
    /// completed; a source's spool is published, and what its input holds is answered. The connector must not run meanwhile.
    Drain,
}

/// `dead-letters …`
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// Number, id, code and reason of each.
    List {
        /// How many at the most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// One event with its data.
    Show {
        /// Its number or id, as `list` prints them.
        which: String,
    },
    /// Hands events back: a sink delivers them itself, a source publishes them again, or answers those of its input once more.
    Replay {
        /// Numbers or ids, as `list` prints them.
        #[arg(required_unless_present = "all")]
        which: Vec<String>,
        /// All of them.
        #[arg(long, conflicts_with = "which")]
        all: bool,
    },
}
