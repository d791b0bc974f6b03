//! The binary's subcommands: `run` here, the tools that look in `look.rs`.
//!
//! Exit codes: 0 done, 69 a port, file or running mesh is not there or refuses, 78 a setting is wrong.

mod look;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
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
    /// Lists the topics of a data folder; the mesh may be running.
    Topics(look::DataArgs),
    /// Lists the consumer groups and how far each has come.
    Groups {
        #[command(flatten)]
        data: look::DataArgs,
        #[command(subcommand)]
        command: Option<GroupsCommand>,
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

#[derive(Debug, Args)]
struct RunArgs {
    /// Settings as YAML, TOML or JSON; the other options override it.
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
    let json = !std::io::stderr().is_terminal();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would report a closed stderr on stderr, and panic.
        .log_internal_errors(false);
    let _ = if json { logs.json().try_init() } else { logs.try_init() };
    let done = match cli.command {
        Command::Run(args) => run(args),
        Command::Topics(data) => look::topics(&data),
        Command::Groups { data, command: None } => look::groups(&data),
        Command::Groups {
            data,
            command: Some(GroupsCommand::Forget { topic, group }),
        } => look::forget(&data, topic, group),
        Command::Tail(args) => look::tail(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(if matches!(error, MeshError::Config(_)) { 78 } else { 69 })
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
    // A second call would find the provider in place.
    let _ = rustls::crypto::ring::default_provider().install_default();
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
