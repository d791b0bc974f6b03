//! A child process: start, signals, bounded waits, its log, its memory.

use std::fs::OpenOptions;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tokio::process::{Child, Command};

use crate::Result;

/// How often a condition is looked at while it is waited for.
const LOOK: Duration = Duration::from_millis(10);

/// What to start, and where its output goes.
#[derive(Debug, Clone)]
pub struct Program {
    /// The binary.
    pub binary: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, besides the usual.
    pub environment: Vec<(String, String)>,
    /// Standard output and error are appended here.
    pub log: PathBuf,
    /// Largest file it may write, in blocks of 512 bytes: a disk that is full.
    pub file_limit: Option<FileLimit>,
    /// Who it runs as; the one who runs this when none.
    pub user: Option<u32>,
}

/// How large a file may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileLimit {
    /// As large as it likes, until [`Process::limit_files`].
    Later,
    /// This many blocks of 512 bytes.
    Blocks(u64),
}

impl Program {
    /// A program with arguments.
    pub fn new(binary: PathBuf, arguments: impl IntoIterator<Item = impl Into<String>>, log: PathBuf) -> Self {
        Self {
            binary,
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            log,
            file_limit: None,
            user: None,
        }
    }

    fn command(&self) -> Command {
        let mut command = match self.file_limit {
            None => Command::new(&self.binary),
            Some(limit) => {
                // A write beyond the limit shall fail, not kill: the signal is ignored, as programs for servers do.
                let limit = match limit {
                    FileLimit::Later => String::new(),
                    FileLimit::Blocks(blocks) => format!("ulimit -f {blocks}; "),
                };
                let mut command = Command::new("sh");
                command
                    .arg("-c")
                    .arg(format!("trap '' XFSZ; {limit}exec \"$0\" \"$@\""))
                    .arg(&self.binary);
                command
            }
        };
        command.args(&self.arguments);
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Starts it. The log may be read meanwhile.
    pub fn start(&self) -> Result<Process> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let child = self
            .command()
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C goes to the one who started it, who then ends it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("{}: {e}", self.binary.display()))?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .ok_or("the process has no id")?;
        Ok(Process {
            child,
            pid,
            log: self.log.clone(),
            started: Instant::now(),
        })
    }

    /// Runs it to its end.
    pub async fn finish(&self, within: Duration) -> Result<Finished> {
        let output = self
            .command()
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(within, output)
            .await
            .map_err(|_| format!("{} did not end within {within:?}", self.binary.display()))??;
        Ok(Finished {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// How a program that ran to its end did.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Finished {
    /// All output.
    pub fn text(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// A running child. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
    log: PathBuf,
    started: Instant,
}

impl Process {
    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid, signal)?)
    }

    /// Lets no file grow beyond `bytes` from now on, or lets them grow again. The program must ignore SIGXFSZ: see
    /// [`FileLimit::Later`].
    pub fn limit_files(&self, bytes: Option<u64>) -> Result<()> {
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(Some(self.pid), Resource::Fsize, limit)?;
        Ok(())
    }

    /// Kills it at once (SIGKILL) and waits until it is gone.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }

    /// Waits for its end; the exit code, or none when a signal ended it.
    pub async fn exit(&mut self, within: Duration) -> Result<Option<i32>> {
        let status = tokio::time::timeout(within, self.child.wait())
            .await
            .map_err(|_| format!("still running after {within:?}; log:\n{}", self.tail()))??;
        Ok(status.code())
    }

    /// Asks it to stop (SIGTERM) and waits for its end.
    pub async fn terminate(&mut self, within: Duration) -> Result<Option<i32>> {
        self.signal(Signal::TERM)?;
        self.exit(within).await
    }

    /// Has it ended?
    pub fn ended(&mut self) -> Result<Option<Option<i32>>> {
        Ok(self.child.try_wait()?.map(|status| status.code()))
    }

    /// Everything it and its predecessors wrote.
    pub fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The end of the log, for error messages.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Resident memory now, in bytes.
    pub fn memory(&self) -> Option<u64> {
        self.of_status("VmRSS:")
    }

    /// Largest resident memory so far, in bytes.
    pub fn peak_memory(&self) -> Option<u64> {
        self.of_status("VmHWM:")
    }

    fn of_status(&self, field: &str) -> Option<u64> {
        let status = std::fs::read_to_string(Path::new("/proc").join(self.id().to_string()).join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
    }
}

/// Waits until `condition` gives something.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, within: Duration, mut condition: impl FnMut() -> F) -> Result<T> {
    let end = Instant::now() + within;
    loop {
        if let Some(found) = condition().await {
            return Ok(found);
        }
        if Instant::now() > end {
            return Err(format!("not within {within:?}: {what}").into());
        }
        tokio::time::sleep(LOOK).await;
    }
}
