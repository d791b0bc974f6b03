//! The binary's subcommands: `run` here, the tools that look in `look.rs`.
//!
//! Exit codes: 0 done, 69 a port, file or running mesh is not there or refuses, 78 a setting is wrong.

mod look;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use openconnect_config::logs;
use openconnect_config::{LogSettings, example, schema};
use tokio::signal::unix::{SignalKind, signal};

use crate::{Config, Mesh, MeshError};

/// EventMesh's protocols on one machine, over a durable log.
#[derive(Debug, Parser)]
#[command(
    name = "openconnect-mesh",
    version,
    after_help = "Exit codes: 0 done; 69 a port, file or running mesh is missing or refuses; 78 wrong settings."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the mesh until SIGTERM or SIGINT.
    Run(RunArgs),
    /// Shows the connections of the running mesh.
    Status(look::DataArgs),
    /// Lists the topics of a data folder; the mesh may be running.
    Topics(look::DataArgs),
    /// Lists the consumer groups and how far each has come.
    Groups {
        #[command(flatten)]
        data: look::DataArgs,
        #[command(subcommand)]
        command: Option<GroupsCommand>,
    },
    /// The settings of a mesh.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Prints the events of a topic.
    Tail(look::TailArgs),
}

#[derive(Debug, Subcommand)]
enum GroupsCommand {
    /// Forgets a group, so that its unconsumed events no longer hold the log.
    Forget {
        /// The topic.
        topic: String,
        /// The group.
        group: String,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Prints every setting with its explanation, as YAML.
    Example,
    /// Prints the JSON Schema of the file.
    Schema,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Settings as YAML, TOML or JSON; `-` reads YAML from standard input. The other options override it.
    #[arg(long, env = "OPENCONNECT_MESH_CONFIG")]
    config: Option<PathBuf>,
    /// Folder of the log.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Address of the TCP protocol.
    #[arg(long)]
    tcp: Option<SocketAddr>,
    /// Address of the gRPC protocol.
    #[arg(long)]
    grpc: Option<SocketAddr>,
    /// No gRPC.
    #[arg(long, conflicts_with = "grpc")]
    no_grpc: bool,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = logs::init_logs(&LogSettings::default(), None) {
        eprintln!("{error}");
        return ExitCode::from(78);
    }
    let done = match cli.command {
        Command::Run(args) => run(args),
        Command::Status(data) => look::status(&data),
        Command::Topics(data) => look::topics(&data),
        Command::Groups { data, command: None } => look::groups(&data),
        Command::Groups {
            data,
            command: Some(GroupsCommand::Forget { topic, group }),
        } => look::forget(&data, topic, group),
        Command::Config { command } => {
            let text = match command {
                ConfigCommand::Example => example(&schema::<Config>(), "mesh"),
                ConfigCommand::Schema => format!("{:#}", schema::<Config>()),
            };
            look::line(text.trim_end());
            Ok(())
        }
        Command::Tail(args) => look::tail(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            if let MeshError::Settings(openconnect_error::Error { hint: Some(hint), .. }) = &error {
                eprintln!("{hint}");
            }
            let settings = matches!(error, MeshError::Config(_) | MeshError::Settings(_) | MeshError::Exposed(_));
            ExitCode::from(if settings { 78 } else { 69 })
        }
    }
}

fn run(args: RunArgs) -> Result<(), MeshError> {
    let mut config = match &args.config {
        Some(file) => Config::load(file)?,
        None => Config::default(),
    };
    if let Some(data) = args.data {
        config.data = data;
    }
    if let Some(tcp) = args.tcp {
        config.tcp = tcp;
    }
    if args.no_grpc {
        config.grpc = None;
    } else if args.grpc.is_some() {
        config.grpc = args.grpc;
    }
    openconnect_config::tls::install_provider();
    raise_open_files(&config);
    let failed = |source| MeshError::Io {
        path: "the runtime".into(),
        source,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(async {
        let mut term = signal(SignalKind::terminate()).map_err(failed)?;
        let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
        let mesh = Mesh::start(config).await?;
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("stopping");
        mesh.shutdown().await;
        Ok(())
    })
}

/// Lets the process have the files that its connections need, as far as the system allows it.
fn raise_open_files(config: &Config) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let transports = 1 + u64::from(config.grpc.is_some());
    let topics = config.topics.max as u64 * 2;
    let needed = transports * config.limits.max_connections as u64 + topics + 64;
    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current.filter(|current| *current < needed) else {
        return;
    };
    let wanted = limit.maximum.map_or(needed, |most| most.min(needed)).max(current);
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "could not raise the limit on open files");
    }
    if wanted < needed {
        tracing::warn!(
            allowed = wanted,
            needed,
            "the system allows fewer open files than `limits` and `topics.max` may need"
        );
    }
}
