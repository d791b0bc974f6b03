//! Recorded conversations: JSON lines with the bytes that a client and a server sent each other, in order.
//!
//! A few of our own making are in `tests/conversations`, those recorded with a running EventMesh 1.x in its folder `eventmesh`;
//! `OPENCONNECT_CAPTURES` names another folder in the place of the latter.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use serde_json::Value;

/// One file.
pub struct Conversation {
    pub name: String,
    pub lines: Vec<Line>,
}

/// What happened at one moment.
pub struct Line {
    /// File and line number.
    pub place: String,
    /// Recordings of several starts of the server are in one file.
    pub run: String,
    /// What the client was up to.
    pub step: String,
    /// The TCP connection or the gRPC call.
    pub of: String,
    /// The gRPC method without its service; empty over TCP.
    pub method: String,
    pub what: What,
}

pub enum What {
    Opened,
    Client(Vec<u8>),
    Server(Vec<u8>),
    /// Bytes that were recorded in part only.
    Cut,
    ClientClosed,
    ServerClosed,
    Other,
}

/// All of them; those of our own making first.
pub fn all() -> Vec<Conversation> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openconnect-protocol/tests/conversations");
    let recorded = std::env::var_os("OPENCONNECT_CAPTURES").map_or_else(|| own.join("eventmesh"), PathBuf::from);
    let mut files = files(&own);
    files.extend(self::files(&recorded));
    files.iter().map(|file| read(file)).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).collect();
    files.sort();
    // A comparison with nothing would hold.
    assert!(!files.is_empty(), "no conversations in {}", folder.display());
    files
}

fn read(file: &Path) -> Conversation {
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().enumerate().map(|(at, line)| {
        let entry: Value = serde_json::from_str(line).unwrap();
        let text = |member: &str| match &entry[member] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let of = if entry["call"].is_null() { text("conn") } else { text("call") };
        let bytes = || hex::decode(text("hex")).unwrap();
        let what = match (text("event").as_str(), text("dir").as_str()) {
            ("start" | "connect", _) => What::Opened,
            ("close" | "half-close by client" | "reset", "c>s") => What::ClientClosed,
            ("close" | "reset", _) => What::ServerClosed,
            ("incomplete frame at end of stream", "c>s") => What::Client(bytes()),
            ("", _) if !entry["hex_cut_at"].is_null() => What::Cut,
            ("", "c>s") => What::Client(bytes()),
            ("", "s>c") => What::Server(bytes()),
            _ => What::Other,
        };
        Line {
            place: format!("{name}:{}", at + 1),
            run: text("run"),
            step: text("step"),
            of,
            method: text("method").rsplit('/').next().unwrap_or_default().to_owned(),
            what,
        }
    });
    Conversation {
        lines: lines.collect(),
        name,
    }
}
