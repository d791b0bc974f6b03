//! Looking at a mesh's data folder while the mesh runs or not: `topics`, `groups`, `tail`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use clap::Args;
use openconnect_journal::ReadOnlyJournal;

use crate::MeshError;
use crate::broker::control_path;
use crate::control::{Ask, Connections, Status};
use crate::log::cursors;
use crate::log::record::{Kind, Record};
use crate::names::{dir_of_topic, topic_of_dir};

/// Which mesh.
#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    /// Folder of the log.
    #[arg(long, default_value = "./mesh-data", global = true)]
    data: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    #[command(flatten)]
    data: DataArgs,
    /// The topic.
    topic: String,
    /// Number of the first event. Default: the last ten.
    #[arg(long)]
    from: Option<u64>,
    /// Goes on with what is published from now on.
    #[arg(long)]
    follow: bool,
}

fn io(path: PathBuf) -> impl FnOnce(std::io::Error) -> MeshError {
    move |source| MeshError::Io { path, source }
}

/// Prints a line; a reader that has gone away (`| head`) ends the output.
pub(super) fn line(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
}

fn all(data: &DataArgs) -> Result<Vec<(String, PathBuf)>, MeshError> {
    let dir = data.data.join("topics");
    let mut topics = Vec::new();
    for entry in fs::read_dir(&dir).map_err(io(dir.clone()))? {
        let path = entry.map_err(io(dir.clone()))?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str()).and_then(topic_of_dir) {
            topics.push((name, path));
        }
    }
    topics.sort();
    Ok(topics)
}

pub(crate) fn topics(data: &DataArgs) -> Result<(), MeshError> {
    line(&format!("{:<40} {:>12} {:>12} {:>12}", "topic", "first", "next", "bytes"));
    for (name, path) in all(data)? {
        let log = ReadOnlyJournal::open(&path)?;
        let bytes: u64 = log.segments().iter().map(|segment| segment.bytes).sum();
        line(&format!(
            "{name:<40} {:>12} {:>12} {bytes:>12}",
            log.first_index(),
            log.next_index()
        ));
    }
    Ok(())
}

pub(crate) fn groups(data: &DataArgs) -> Result<(), MeshError> {
    line(&format!(
        "{:<40} {:<30} {:>12} {:>12} {:>12}",
        "topic", "group", "next", "behind", "subscribers"
    ));
    let running = status_of(data).ok();
    for (name, path) in all(data)? {
        let next = ReadOnlyJournal::open(&path)?.next_index();
        for (group, cursor) in cursors::load(&path).map_err(io(path))? {
            let subscribers = running.as_ref().map_or_else(
                || "-".to_owned(),
                |status| {
                    let of_group = status.groups.iter().find(|(t, g, _)| *t == name && *g == group);
                    of_group.map_or(0, |(_, _, members)| *members).to_string()
                },
            );
            let behind = next.saturating_sub(cursor);
            line(&format!("{name:<40} {group:<30} {cursor:>12} {behind:>12} {subscribers:>12}"));
        }
    }
    Ok(())
}

/// What the running mesh answers.
fn ask(data: &DataArgs, question: &Ask) -> Result<String, MeshError> {
    let path = control_path(&data.data);
    let ask = || -> std::io::Result<String> {
        let mut socket = UnixStream::connect(&path)?;
        writeln!(socket, "{}", serde_json::json!(question))?;
        let mut answer = String::new();
        BufReader::new(socket).read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(MeshError::NotRunning)?;
    match answer.trim().strip_prefix("error ") {
        Some(reason) => Err(MeshError::Refused(reason.to_owned())),
        None => Ok(answer),
    }
}

fn status_of(data: &DataArgs) -> Result<Status, MeshError> {
    let answer = ask(data, &Ask::Status)?;
    serde_json::from_str(&answer).map_err(MeshError::Answer)
}

pub(crate) fn status(data: &DataArgs) -> Result<(), MeshError> {
    let status = status_of(data)?;
    line(&format!("{:<10} {:>12} {:>12}", "transport", "connections", "refused"));
    for (name, Connections { open, refused }) in [("tcp", status.tcp), ("grpc", status.grpc)] {
        line(&format!("{name:<10} {open:>12} {refused:>12}"));
    }
    Ok(())
}

pub(crate) fn forget(data: &DataArgs, topic: String, group: String) -> Result<(), MeshError> {
    ask(data, &Ask::Forget { topic, group })?;
    line("forgotten");
    Ok(())
}

/// Text of a client without what would steer the terminal.
fn plain(text: &str) -> String {
    let plain = |c: char| {
        if c.is_control() {
            format!("\\u{{{:x}}}", u32::from(c))
        } else {
            c.into()
        }
    };
    text.chars().map(plain).collect()
}

pub(crate) fn tail(args: &TailArgs) -> Result<(), MeshError> {
    let path = args.data.data.join("topics").join(dir_of_topic(&args.topic));
    if !path.exists() {
        return Err(MeshError::Refused(format!("there is no topic `{}`", args.topic)));
    }
    let log = ReadOnlyJournal::open(&path)?;
    let mut reader = log.reader(args.from.unwrap_or_else(|| log.next_index().saturating_sub(10).max(1)));
    let mut entries = Vec::new();
    loop {
        entries.clear();
        if reader.read(256, 1 << 20, &mut entries)? == 0 {
            if !args.follow {
                return Ok(());
            }
            std::thread::park_timeout(std::time::Duration::from_millis(200));
            log.refresh()?;
            continue;
        }
        for (index, bytes) in entries.drain(..) {
            let text = match Record::parse(bytes) {
                Some(record) if record.kind != Kind::Grpc => plain(&String::from_utf8_lossy(&record.body)),
                Some(record) => format!("(gRPC, {} bytes)", record.body.len()),
                None => "(unreadable)".to_owned(),
            };
            if !line(&format!("{index} {text}")) {
                return Ok(());
            }
        }
    }
}
