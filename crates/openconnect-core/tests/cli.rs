//! The command line of a sink and of a source, run as binaries (the crate's examples).
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use openconnect_mesh::{Config, Mesh};
use serde_json::Value;

const CANARY: &str = "canary-77aa-s3cret";

/// The folder of the examples, built from the current sources: by the test command, which says so, or else here.
fn examples() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if std::env::var_os("OPENCONNECT_EXAMPLES_BUILT").is_none() {
            let built = Command::new(env!("CARGO"))
                .args([
                    "build",
                    "--quiet",
                    "--offline",
                    "--examples",
                    "--manifest-path",
                    concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
                ])
                .status()
                .unwrap();
            assert!(built.success());
        }
        let exe = std::env::current_exe().unwrap();
        exe.parent().unwrap().parent().unwrap().join("examples")
    })
}

struct Instance {
    dir: tempfile::TempDir,
    binary: &'static str,
}

impl Instance {
    fn sink(text: &str) -> Self {
        Self::new("print_sink", text)
    }

    fn source(text: &str) -> Self {
        Self::new("lines_source", text)
    }

    fn new(binary: &'static str, text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("c.yaml"), text).unwrap();
        Self { dir, binary }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(examples().join(self.binary));
        command
            .current_dir(self.dir.path())
            .args(arguments)
            .env("OPENCONNECT_CONFIG", "c.yaml")
            .env("CANARY", CANARY)
            .env_remove("RUST_LOG");
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.command(arguments).output().unwrap())
    }
}

#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    fn json(self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

// Nothing listens on port 1.
const SINK: &str = "name: orders\nmesh: {url: 'tcp://127.0.0.1:1', topic: t, request_timeout: 500ms}\nsink: {prefix: '> '}\n";
const SOURCE: &str = "name: lines\nmesh: {url: 'tcp://127.0.0.1:1', topic: t, request_timeout: 500ms}\nsource: {file: lines.txt}\n";

#[test]
fn a_connector_adds_a_command_of_its_own() {
    let sink = Instance::sink(SINK);
    assert_eq!(sink.run(&["preview", "7"]).ok(), "> 7\n");
    assert_eq!(sink.run(&["--output", "json", "preview", "7"]).json()["line"], "> 7");
    assert!(sink.run(&["--help"]).ok().contains("preview"));
    assert_eq!(sink.run(&["preview"]).code, 78);

    let source = Instance::source(SOURCE);
    std::fs::write(source.dir.path().join("lines.txt"), "k\tone\nk\ttwo\nhalf").unwrap();
    assert_eq!(source.run(&["preview"]).ok(), "k\tone\nk\ttwo\n");
    let lines = &source.run(&["--output", "json", "preview"]).json()["lines"];
    assert_eq!(*lines, serde_json::json!(["k\tone", "k\ttwo"]));
    assert!(source.run(&["--help"]).ok().contains("preview"));
    assert!(source.run(&["completions", "bash"]).ok().contains("preview"));
    assert!(!source.dir.path().join("state").exists(), "a preview makes no state");
}

#[test]
fn help_names_the_commands_and_the_exit_codes() {
    let sink = Instance::sink(SINK);
    let help = sink.run(&["--help"]).ok();
    for word in [
        "run",
        "check",
        "config",
        "offsets",
        "dead-letters",
        "completions",
        "69",
        "70",
        "78",
        "print-sink",
    ] {
        assert!(help.contains(word), "{word}\n{help}");
    }
    assert_eq!(
        sink.run(&["--version"]).ok(),
        format!("openconnect-print-sink {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert!(sink.run(&["completions", "bash"]).ok().contains("openconnect-print-sink"));
}

#[test]
fn a_check_of_a_mesh_that_is_down_ends() {
    for instance in [Instance::sink(SINK), Instance::source(SOURCE)] {
        let ended = instance.run(&["check", "--connect"]);
        assert_eq!(ended.code, 69, "{ended:?}");
        assert!(ended.out.contains("no server of mesh.url gave a session"), "{ended:?}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_78() {
    let sink = Instance::sink(SINK);
    for arguments in [
        &["runn"][..],
        &[],
        &["run", "--nope"],
        &["--set", "nope", "config", "show"],
        &["offsets", "reset"],
    ] {
        let ended = sink.run(arguments);
        assert_eq!(ended.code, 78, "{arguments:?} {ended:?}");
        assert!(!ended.err.is_empty());
    }
}

#[test]
fn a_wrong_configuration_ends_with_78_and_names_every_mistake() {
    let sink = Instance::sink("name: orders\nmesh: {url: 'tcp://h:1', topik: t}\nsink: {prefx: a, key: 5}\n");
    for command in [&["run"][..], &["check"], &["config", "show"], &["offsets", "show"]] {
        let ended = Instance::sink(SINK).run(&[command, &["--set", "sink.prefx=1"]].concat());
        assert!(ended.code == 78, "{command:?} {ended:?}");
    }
    let ended = sink.run(&["check"]);
    assert_eq!(ended.code, 78);
    for word in [
        "c.yaml:2:26 mesh.topik",
        "c.yaml:3:8 sink.prefx: unknown key; did you mean `prefix`?",
        "sink.key: expected a text",
        "what to do",
    ] {
        assert!(ended.err.contains(word), "{word}\n{}", ended.err);
    }
    let json = sink.run(&["check", "--output", "json"]).json();
    assert_eq!(json["problems"].as_array().unwrap().len(), 3, "{json}");
    assert_eq!(json["ok"], false);
}

#[test]
fn the_example_is_a_configuration() {
    for instance in [Instance::sink(""), Instance::source("")] {
        let example = instance.run(&["config", "example"]).ok();
        std::fs::write(instance.dir.path().join("c.yaml"), &example).unwrap();
        instance.run(&["config", "show"]).ok();
        let schema: Value = serde_json::from_str(&instance.run(&["config", "schema"]).ok()).unwrap();
        assert_eq!(schema["additionalProperties"], false);
    }
}

#[test]
fn offsets_are_shown_set_and_reset() {
    let source = Instance::source(SOURCE);
    assert!(source.run(&["offsets", "show"]).ok().contains("no offsets"));
    assert!(!source.dir.path().join("state").exists(), "looking makes no state");
    source.run(&["offsets", "set", "lines.txt", "41"]).ok();
    source.run(&["offsets", "set", "other", r#"{"a": 1}"#]).ok();
    let shown = source.run(&["offsets", "show", "--output", "json"]).json();
    assert_eq!(shown["offsets"], serde_json::json!({"lines.txt": 41, "other": {"a": 1}}));
    assert_eq!(source.run(&["offsets", "set", "lines.txt", "{"]).code, 78);
    assert_eq!(source.run(&["offsets", "reset", "line.txt"]).code, 78);
    source.run(&["offsets", "reset", "lines.txt"]).ok();
    assert_eq!(source.run(&["offsets", "show"]).ok(), "other  {\"a\":1}\n");
    source.run(&["offsets", "reset", "--all"]).ok();
    assert_eq!(
        source.run(&["offsets", "show", "--output", "json"]).json()["offsets"],
        serde_json::json!({})
    );
    assert_eq!(Instance::sink(SINK).run(&["offsets", "show"]).code, 78);
}

/// A process that is killed where the test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

/// Runs the source until all three lines are acknowledged.
async fn read_all(source: &Instance) -> Running {
    let running = Running(source.command(&["run"]).spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::fs::read_to_string(source.dir.path().join("offset")).unwrap_or_default() != "3" {
        assert!(Instant::now() < deadline, "the queue is not read");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_the_system_keeps_are_shown_and_set_there() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::start(Config::embedded(dir.path().join("mesh"))).await.unwrap();
    let source = Instance::new(
        "queue_source",
        &format!(
            "name: queue\nmesh: {{url: 'tcp://{}', topic: t}}\nstate: {{flush_interval: 10ms}}\nsource: {{queue: .}}\n",
            mesh.tcp_addr()
        ),
    );
    let offset = source.dir.path().join("offset");
    std::fs::write(source.dir.path().join("log"), "one\ntwo\nthree\n").unwrap();
    assert!(source.run(&["offsets", "show"]).ok().contains("no offsets"));

    let running = read_all(&source).await;
    assert_eq!(source.run(&["offsets", "show"]).ok(), "queue  3\n");
    for refused in [&["offsets", "set", "queue", "1"][..], &["offsets", "reset", "--all"]] {
        let ended = source.run(refused);
        assert!(
            ended.code != 0 && ended.err.contains("OC0511") && ended.err.contains("queue-"),
            "{ended:?}"
        );
    }
    drop(running);

    for (arguments, code) in [
        (["offsets", "set", "queue", "\"one\""], "OC0506"),
        (["offsets", "set", "other", "1"], "QUEUE"),
    ] {
        let ended = source.run(&arguments);
        assert!(ended.code == 78 && ended.err.contains(code), "{ended:?}");
    }
    assert_eq!(source.run(&["offsets", "reset", "other"]).code, 78);
    assert_eq!(source.run(&["offsets", "show"]).ok(), "queue  3\n");
    source.run(&["offsets", "set", "queue", "1"]).ok();
    assert_eq!(std::fs::read_to_string(&offset).unwrap(), "1");
    drop(read_all(&source).await);
    source.run(&["offsets", "reset", "queue"]).ok();
    assert!(!offset.exists());
    assert!(!source.dir.path().join("state/queue/offsets.redb").exists());
    mesh.shutdown().await;
}

#[test]
fn offsets_that_only_the_system_can_change_are_refused() {
    let source = Instance::new(
        "folder_source",
        "name: f\nmesh: {url: 'tcp://127.0.0.1:1', topic: t}\nsource: {folder: .}\n",
    );
    for arguments in [
        &["offsets", "show"][..],
        &["offsets", "set", "folder", "\"a\""],
        &["offsets", "reset", "--all"],
    ] {
        let ended = source.run(arguments);
        assert!(ended.code == 78 && ended.err.contains("OC0512"), "{ended:?}");
    }
    assert!(!source.dir.path().join("state").exists(), "a refused command makes no state");
}

#[test]
fn no_output_shows_a_secret() {
    let sink = Instance::sink(
        "name: orders\nmesh: {url: 'tcp://127.0.0.1:1', topic: t, request_timeout: 300ms, username: u, password: '${env:CANARY}'}\nsink: {key: '${env:CANARY}'}\n",
    );
    let wrong = format!("mesh.password=[{CANARY}]");
    for arguments in [
        &["config", "show"][..],
        &["config", "show", "--output", "json"],
        &["config", "schema"],
        &["check"],
        &["check", "--connect", "--log-level", "trace"],
        &["check", "--set", "mesh.window=${env:CANARY}"],
        &["check", "--set", &wrong],
        &["check", "--set", CANARY],
        &["offsets", "show"],
        &["dead-letters", "list"],
    ] {
        let ended = sink.run(arguments);
        assert!(
            !ended.out.contains(CANARY) && !ended.err.contains(CANARY),
            "{arguments:?} {ended:?}"
        );
        assert!(!ended.err.contains("panicked"), "{ended:?}");
    }
}

#[test]
fn a_taken_admin_port_ends_with_69() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("admin.listen={}", taken.local_addr().unwrap());
    let ended = Instance::sink(SINK).run(&["run", "--set", &listen]);
    assert_eq!(ended.code, 69, "{ended:?}");
    assert!(ended.err.contains("OC0501"), "{ended:?}");
}

/// Runs against a mesh that accepts connections and never answers.
fn run_against_silence(more: &[&str]) -> (std::process::Child, std::net::TcpListener, Instance) {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let sink = Instance::sink(SINK);
    let url = format!("mesh.url=tcp://{}", silent.local_addr().unwrap());
    let mut arguments = vec![
        "run",
        "--set",
        &url,
        "--set",
        "mesh.request_timeout=60s",
        "--set",
        "log.format=json",
    ];
    arguments.extend_from_slice(more);
    let child = sink
        .command(&arguments)
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    (child, silent, sink)
}

fn terminate(child: &std::process::Child) {
    let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

#[test]
fn sigterm_during_the_start_ends_it() {
    use std::io::BufRead;
    let (mut child, silent, _instance) = run_against_silence(&["--set", "admin.listen=127.0.0.1:0"]);
    // It is on its way to the mesh: signals are handled by then.
    let _connection = silent.accept().unwrap();
    let mut lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let address = lines
        .by_ref()
        .map(|line| serde_json::from_str::<Value>(&line).unwrap())
        .find_map(|line| Some(line.get("address")?.as_str()?.to_owned()))
        .unwrap();
    // Not ready, and it says so.
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    std::io::Write::write_all(&mut stream, b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("starting\n"), "{answer}");
    terminate(&child);
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest:#?}");
    // Every line of the log is JSON to the end.
    for line in &rest {
        serde_json::from_str::<Value>(line).unwrap();
    }
}
