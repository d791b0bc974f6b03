//! Debezium's MySQL connector, as `ci/debezium` runs it: what a CDC source is compared with.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use url::Url;

use crate::{Result, maven, skip};

/// Built and ready to be started.
#[derive(Debug)]
pub struct Debezium {
    classpath: String,
}

/// What it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Each change, as a line of JSON.
    Changes,
    /// The number of changes so far, ten times a second.
    Count,
}

/// A running one; ends when it is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    errors: PathBuf,
}

impl Debezium {
    /// Builds it with Maven, which fetches Debezium; none when Java or Maven is missing, which is an error with `CI=true`.
    pub fn build() -> Result<Option<Self>> {
        if let Some(tool) = maven::missing_tool() {
            skip::skipped("Debezium", &format!("{tool} is not installed"))?;
            return Ok(None);
        }
        let classpath = maven::build("debezium")?;
        Ok(Some(Self { classpath }))
    }

    /// Starts it on the database of this URL, in a folder of its own. `snapshot` is its `snapshot.mode`.
    pub fn start(&self, database: &str, snapshot: &str, output: Output, folder: &Path) -> Result<Running> {
        let url = Url::parse(database)?;
        let port = url.port().unwrap_or(3306).to_string();
        let name = url.path().trim_start_matches('/');
        let errors = folder.join("debezium.err");
        let output = match output {
            Output::Changes => "print",
            Output::Count => "count",
        };
        let mut child = tokio::process::Command::new("java")
            .args(["-cp", &self.classpath, "org.openconnect.debezium.Main"])
            .args([
                url.host_str().unwrap_or("127.0.0.1"),
                &port,
                url.username(),
                url.password().unwrap_or(""),
            ])
            .args([name, snapshot, output])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&errors)?)
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        Ok(Running {
            child,
            lines: BufReader::new(stdout).lines(),
            errors,
        })
    }
}

impl Running {
    /// The next line that it writes.
    pub async fn line(&mut self) -> Result<String> {
        match self.lines.next_line().await? {
            Some(line) => Ok(line),
            None => Err(format!("Debezium ended: {}", std::fs::read_to_string(&self.errors)?).into()),
        }
    }

    /// Its process.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }
}
