//! `openconnect-mesh` as a child process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::Result;
use crate::connector::merge;
use crate::kit::{Kit, free_address};
use crate::process::{Process, Program, until};

/// How long a start may take.
const START: Duration = Duration::from_secs(20);

/// A mesh on ports that stay the same through restarts.
#[derive(Debug)]
pub struct Mesh {
    /// Address of the TCP protocol.
    pub tcp: SocketAddr,
    /// Address of the gRPC services.
    pub grpc: SocketAddr,
    /// Where its events are.
    pub data: PathBuf,
    /// How it is started.
    pub program: Program,
    /// The process.
    pub process: Process,
    /// From start to the first connection that was taken.
    pub ready_after: Duration,
}

impl Mesh {
    /// Starts one; `settings` go over the defaults.
    pub async fn start(kit: &Kit, settings: Value) -> Result<Self> {
        Self::start_with(kit, settings, |_| ()).await
    }

    /// Starts one in a way of its own.
    pub async fn start_with(kit: &Kit, settings: Value, how: impl FnOnce(&mut Program)) -> Result<Self> {
        let (tcp, grpc, data) = (free_address()?, free_address()?, kit.file("mesh-data"));
        let mut config = json!({ "data": data, "tcp": tcp, "grpc": grpc });
        merge(&mut config, settings);
        let file = kit.file("mesh.yaml");
        std::fs::write(&file, config.to_string())?;
        let mut program = Program::new(
            kit.binary("openconnect-mesh")?,
            ["run".to_owned(), "--config".to_owned(), file.to_string_lossy().into_owned()],
            kit.file("mesh.log"),
        );
        how(&mut program);
        let (process, ready_after) = run(&program, tcp).await?;
        Ok(Self {
            tcp,
            grpc,
            data,
            program,
            process,
            ready_after,
        })
    }

    /// Address of the TCP protocol of the mesh that was started in this kit.
    pub fn address_in(kit: &Kit) -> Result<SocketAddr> {
        let config: Value = serde_json::from_slice(&std::fs::read(kit.file("mesh.yaml"))?)?;
        Ok(config["tcp"].as_str().ok_or("the mesh has no address")?.parse()?)
    }

    /// The URL of the TCP protocol.
    pub fn url(&self) -> String {
        format!("tcp://{}", self.tcp)
    }

    /// The URL of the gRPC services.
    pub fn grpc_url(&self) -> String {
        format!("grpc://{}", self.grpc)
    }

    /// Starts it again after it was killed or stopped.
    pub async fn restart(&mut self) -> Result<()> {
        (self.process, self.ready_after) = run(&self.program, self.tcp).await?;
        Ok(())
    }
}

async fn run(program: &Program, tcp: SocketAddr) -> Result<(Process, Duration)> {
    let mut process = program.start()?;
    let started = Instant::now();
    let mut ended = None;
    let ready = until("the mesh listens", START, || {
        ended = process.ended().ok().flatten();
        let ended = ended.is_some();
        async move { (ended || TcpStream::connect(tcp).await.is_ok()).then_some(()) }
    })
    .await;
    if ready.is_err() || ended.is_some() {
        return Err(format!("the mesh did not start ({ended:?}):\n{}", process.tail()).into());
    }
    Ok((process, started.elapsed()))
}
