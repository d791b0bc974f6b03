//! Servers that tests need, started by the scripts in `ci/services`: one shared by all tests, or an instance of one's own.
//!
//! The folder is the table of services: `ci/services/<name>.sh` makes `Service::named("<name>")` work, and nothing else has to be
//! changed. A shared instance runs as long as some test process uses it; an own instance has its own folder and ports and may be
//! killed. A watcher process stops what a test process leaves behind, however that process ended.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use crate::kit::free_address;
use crate::{Result, skip};

/// Own instances of one service that a process runs at the same time; whoever wants one more waits.
const INSTANCES: usize = 2;

/// A kind of server: the name of its script in `ci/services`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Service(&'static str);

impl Service {
    /// The service of the script `ci/services/<name>.sh`.
    pub const fn named(name: &'static str) -> Self {
        Self(name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// The environment variable that holds its URL, and with which a user names a server of their own.
    pub fn variable(self) -> String {
        format!("OPENCONNECT_TEST_{}", self.0.to_ascii_uppercase().replace('-', "_"))
    }

    /// The URL, as an administrator, of the instance that all tests share; starts it when it does not run yet. `None` when it can't
    /// be had.
    ///
    /// # Errors
    /// With `CI=true`, when it can't be had.
    pub async fn shared(self) -> Result<Option<String>> {
        type Started = Arc<OnceCell<Result<Shared, String>>>;
        static SHARED: LazyLock<Mutex<HashMap<Service, Started>>> = LazyLock::new(Mutex::default);
        let cell = Arc::clone(SHARED.lock().unwrap_or_else(PoisonError::into_inner).entry(self).or_default());
        // A failure is kept too: not every test waits for it again.
        let started = cell
            .get_or_init(|| async {
                let started = tokio::task::spawn_blocking(move || Shared::start(self)).await;
                started.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
            })
            .await;
        match started {
            Ok(shared) => Ok(Some(shared.url.clone())),
            Err(reason) => self.missing(reason),
        }
    }

    fn missing<T>(self, reason: &str) -> Result<Option<T>> {
        skip::skipped(self.0, reason)?;
        Ok(None)
    }
}

/// The instance that this process shares with others.
struct Shared {
    url: String,
    /// Held until the process ends: the watcher waits for it.
    _in_use: Option<File>,
}

impl Shared {
    fn start(service: Service) -> Result<Self> {
        if let Ok(url) = std::env::var(service.variable()) {
            return Ok(Self { url, _in_use: None });
        }
        let script = Script {
            service,
            environment: Vec::new(),
        };
        let in_use = script.hold("shared", "stop")?;
        script.run(&["start"])?;
        Ok(Self {
            url: script.url()?,
            _in_use: Some(in_use),
        })
    }
}

/// An instance of a service that only its holder uses, and may kill. It is stopped and its data removed when this is dropped.
#[derive(Debug)]
pub struct Instance {
    script: Script,
    url: String,
    _in_use: File,
}

impl Instance {
    /// Starts a fresh one on a port of its own; `None` when it can't be had.
    ///
    /// # Errors
    /// With `CI=true`, when it can't be had.
    pub async fn start(service: Service) -> Result<Option<Self>> {
        Self::start_with(service, "").await
    }

    /// As [`start`](Self::start), with more arguments for the server (the script's variable `OPENCONNECT_TEST_<NAME>_ARGS`).
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(service: Service, arguments: &str) -> Result<Option<Self>> {
        let arguments = arguments.to_owned();
        match tokio::task::spawn_blocking(move || Self::start_blocking(service, arguments)).await? {
            Ok(instance) => Ok(Some(instance)),
            Err(error) => service.missing(&error.to_string()),
        }
    }

    fn start_blocking(service: Service, arguments: String) -> Result<Self> {
        let port = free_address()?.port();
        let name = format!("{}-{port}", std::process::id());
        let script = Script {
            service,
            environment: vec![
                ("OPENCONNECT_INSTANCE".into(), name.clone()),
                (format!("{}_PORT", service.variable()), port.to_string()),
                (format!("{}_ARGS", service.variable()), arguments),
            ],
        };
        let in_use = script.hold(&name, "remove")?;
        script.run(&["start"])?;
        Ok(Self {
            url: script.url()?,
            script,
            _in_use: in_use,
        })
    }

    /// Its URL, as an administrator.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills the server at once (SIGKILL). Blocks until it is gone.
    ///
    /// # Errors
    /// When the script fails.
    pub fn kill(&self) -> Result<()> {
        self.script.run(&["kill"]).map(drop)
    }

    /// Starts it again with its data. Blocks until it answers; does nothing when it runs.
    ///
    /// # Errors
    /// When the script fails.
    pub fn restart(&self) -> Result<()> {
        self.script.run(&["start", "--keep"]).map(drop)
    }
}

/// An instance lent to one holder at a time, so that a series of runs need not start a server for each. See [`lend`].
#[derive(Debug)]
pub struct Lent {
    instance: Arc<Instance>,
    service: Service,
    _permit: OwnedSemaphorePermit,
}

/// Instances of one service in this process.
struct Pool {
    idle: Mutex<Vec<Arc<Instance>>>,
    permits: Arc<Semaphore>,
}

static POOLS: LazyLock<Mutex<HashMap<Service, Arc<Pool>>>> = LazyLock::new(Mutex::default);

fn pool(service: Service) -> Arc<Pool> {
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    let pool = pools.entry(service).or_insert_with(|| {
        Arc::new(Pool {
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(INSTANCES)),
        })
    });
    Arc::clone(pool)
}

/// An instance that nobody else uses until it is given back by dropping it. Waits while as many as allowed are lent. `None` when it
/// can't be had.
///
/// # Errors
/// With `CI=true`, when it can't be had.
pub async fn lend(service: Service) -> Result<Option<Lent>> {
    let pool = pool(service);
    let permit = Arc::clone(&pool.permits).acquire_owned().await?;
    let idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let instance = match idle {
        Some(instance) => Some(instance),
        None => Instance::start(service).await?.map(Arc::new),
    };
    Ok(instance.map(|instance| Lent {
        instance,
        service,
        _permit: permit,
    }))
}

impl Lent {
    /// The instance. A task that restarts it may hold it a moment longer than the run.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }
}

impl Drop for Lent {
    /// The next holder finds it running: a server that its holder left dead is started again, or thrown away.
    fn drop(&mut self) {
        if self.instance.restart().is_ok() {
            let pool = pool(self.service);
            pool.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Arc::clone(&self.instance));
        }
    }
}

/// A script of `ci/services` and the environment that chooses its instance.
#[derive(Debug)]
struct Script {
    service: Service,
    environment: Vec<(String, String)>,
}

impl Script {
    fn command(&self, arguments: &[&str]) -> Command {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ci/services");
        let mut command = Command::new(format!("{folder}/{}.sh", self.service.name()));
        command
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command of the script to its end; gives its output.
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let name = self.service.name();
        let output = self
            .command(arguments)
            .output()
            .map_err(|error| format!("ci/services/{name}.sh: {error}"))?;
        if !output.status.success() {
            return Err(format!("{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The URL as an administrator.
    fn url(&self) -> Result<String> {
        let lead = format!("export {}=", self.service.variable());
        let output = self.run(&["env"])?;
        let url = output.lines().find_map(|line| line.strip_prefix(&lead));
        Ok(url.ok_or("the script names no URL")?.to_owned())
    }

    /// Takes a lock and starts a watcher that runs `command` of the script once no process holds it any more.
    fn hold(&self, instance: &str, command: &str) -> Result<File> {
        let cache = match std::env::var_os("OPENCONNECT_CACHE") {
            Some(cache) => PathBuf::from(cache),
            None => PathBuf::from(std::env::var_os("HOME").ok_or("HOME is not set")?).join(".cache/openconnect"),
        };
        let run = cache.join("run");
        std::fs::create_dir_all(&run)?;
        let path = run.join(format!("{}-{instance}.users", self.service.name()));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
        // A watcher that is just stopping the server is waited for.
        flock(&file, FlockOperation::LockShared)?;
        let script = self.command(&[command]);
        Command::new("setsid")
            .args(["--fork", "flock", "--exclusive"])
            .arg(path)
            .arg(script.get_program())
            .arg(command)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        Ok(file)
    }
}
