//! A connector as a child process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kit::{Kit, free_address};
use crate::process::{Finished, Process, Program, until};
use crate::{Result, http};

/// How long a start may take.
const START: Duration = Duration::from_secs(20);

/// A connector with the configuration that was written for it. Its ports stay the same through restarts.
#[derive(Debug)]
pub struct Connector {
    /// The instance's name.
    pub name: String,
    /// Address of the admin server.
    pub admin: SocketAddr,
    /// Its configuration file.
    pub config: PathBuf,
    /// Folder of its state.
    pub state: PathBuf,
    /// How it is started.
    pub program: Program,
    process: Option<Process>,
    /// From the last start to ready.
    pub ready_after: Duration,
}

impl Connector {
    /// Writes the configuration of the instance `name` of `binary` and starts nothing. `settings` go over the defaults:
    /// `mesh` and the connector's own section are the least.
    pub fn prepare(kit: &Kit, binary: &str, name: &str, settings: Value) -> Result<Self> {
        let (admin, state) = (free_address()?, kit.file("state"));
        let mut config = json!({ "name": name, "admin": { "listen": admin }, "state": { "dir": state } });
        merge(&mut config, settings);
        let file = kit.file(&format!("{name}.yaml"));
        std::fs::write(&file, config.to_string())?;
        let program = Program::new(
            kit.binary(binary)?,
            ["run".to_owned(), "--config".to_owned(), file.to_string_lossy().into_owned()],
            kit.file(&format!("{name}.log")),
        );
        Ok(Self {
            name: name.to_owned(),
            admin,
            config: file,
            state: state.join(name),
            program,
            process: None,
            ready_after: Duration::ZERO,
        })
    }

    /// An instance with a configuration file as it is, and `set` on top (`path=value`); starts nothing.
    pub fn from_file(kit: &Kit, binary: &str, name: &str, file: PathBuf, set: &[String]) -> Result<Self> {
        let (admin, state) = (free_address()?, kit.file("state"));
        let mut arguments = vec!["run".to_owned(), "--config".to_owned(), file.to_string_lossy().into_owned()];
        for set in [format!("admin.listen={admin}"), format!("state.dir={}", state.display())]
            .iter()
            .chain(set)
        {
            arguments.extend(["--set".to_owned(), set.clone()]);
        }
        Ok(Self {
            name: name.to_owned(),
            admin,
            config: file,
            state: state.join(name),
            program: Program::new(kit.binary(binary)?, arguments, kit.file(&format!("{name}.log"))),
            process: None,
            ready_after: Duration::ZERO,
        })
    }

    /// Writes the configuration, starts it, waits until it is ready.
    pub async fn start(kit: &Kit, binary: &str, name: &str, settings: Value) -> Result<Self> {
        let mut connector = Self::prepare(kit, binary, name, settings)?;
        connector.run().await?;
        Ok(connector)
    }

    /// Starts it (again) and waits until it is ready.
    pub async fn run(&mut self) -> Result<()> {
        self.launch()?;
        self.ready().await
    }

    /// Starts it (again) and waits for nothing.
    pub fn launch(&mut self) -> Result<()> {
        self.process = Some(self.program.start()?);
        Ok(())
    }

    /// Waits until it is ready. An end of the process is an error.
    pub async fn ready(&mut self) -> Result<()> {
        let admin = self.admin;
        let process = self.process.as_mut().ok_or("it was never started")?;
        let mut ended = None;
        let ready = until("ready", START, || {
            ended = process.ended().ok().flatten();
            let ended = ended.is_some();
            async move { (ended || http::get(admin, "/readyz").await.is_ok_and(|answer| answer.status.is_success())).then_some(()) }
        })
        .await;
        if ended.is_some() || ready.is_err() {
            return Err(format!("{} did not become ready ({ended:?}):\n{}", self.name, process.tail()).into());
        }
        self.ready_after = process.started().elapsed();
        Ok(())
    }

    /// The process.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().ok_or_else(|| "it was never started".into())
    }

    /// Kills it at once.
    pub async fn kill(&mut self) -> Result<()> {
        self.process()?.kill().await
    }

    /// Kills it at once and starts it again.
    pub async fn kill_and_run(&mut self) -> Result<()> {
        self.kill().await?;
        self.run().await
    }

    /// `/status`.
    pub async fn status(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&http::get(self.admin, "/status").await?.body)?)
    }

    /// Waits until `/status` is as wanted.
    pub async fn wait_status(&self, what: &str, within: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let end = Instant::now() + within;
        loop {
            let status = self.status().await;
            if let Ok(status) = &status
                && wanted(status)
            {
                return Ok(status.clone());
            }
            if Instant::now() > end {
                return Err(format!("{}: not within {within:?}: {what}; status: {status:?}", self.name).into());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Everything it logged.
    pub fn log(&self) -> String {
        std::fs::read(&self.program.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Runs another command of the binary with this configuration.
    pub async fn command(&self, arguments: &[&str]) -> Result<Finished> {
        let mut program = self.program.clone();
        program.arguments = vec!["--config".to_owned(), self.config.to_string_lossy().into_owned()];
        program.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        program.finish(Duration::from_secs(30)).await
    }

    /// Runs it to its end, for starts that must fail.
    pub async fn finish(&self) -> Result<Finished> {
        self.program.finish(Duration::from_secs(30)).await
    }
}

/// Puts `over` on top of `base`, section by section.
pub fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}
