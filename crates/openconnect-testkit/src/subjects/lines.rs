//! A file that grows line by line: for the `lines_source` example, and for new sources until they have a system of their own.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::Result;
use crate::kit::Kit;
use crate::oracle::{Sent, hash};
use crate::prove::subject::{Input, Later, Produced};
use crate::prove::{KEYS, PADDING, PAUSE};
use crate::sender::data;

struct Lines {
    binary: &'static str,
    file: PathBuf,
    /// What was written, each with the offset behind it.
    written: Arc<Mutex<Vec<(u64, Sent)>>>,
    writer: Option<AbortOnDropHandle<()>>,
}

/// For the core's example `lines_source`.
pub fn input(kit: &Kit) -> Later<'_, Box<dyn Input>> {
    of(kit, "examples/lines_source")
}

/// For a source that reads such files.
pub fn of<'k>(kit: &'k Kit, binary: &'static str) -> Later<'k, Box<dyn Input>> {
    let file = kit.file("lines.txt");
    Box::pin(async move {
        File::create(&file)?;
        Ok(Box::new(Lines {
            binary,
            file,
            written: Arc::default(),
            writer: None,
        }) as Box<dyn Input>)
    })
}

impl Lines {
    fn written(&self) -> std::sync::MutexGuard<'_, Vec<(u64, Sent)>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Input for Lines {
    fn binary(&self) -> &'static str {
        self.binary
    }

    fn section(&self) -> Value {
        json!({ "file": self.file })
    }

    fn start(&mut self) -> Later<'_, ()> {
        Box::pin(async {
            let file = OpenOptions::new().append(true).open(&self.file)?;
            let writer = tokio::spawn(write(file, Arc::clone(&self.written)));
            self.writer = Some(AbortOnDropHandle::new(writer));
            Ok(())
        })
    }

    fn confirmed(&self) -> usize {
        self.written().len()
    }

    fn stop(&mut self) -> Later<'_, Produced> {
        Box::pin(async {
            if let Some(writer) = self.writer.take() {
                writer.abort();
                let _ = writer.await;
            }
            let confirmed = self.written().iter().map(|(_, sent)| sent.clone()).collect();
            Ok(Produced {
                confirmed,
                open: Vec::new(),
                refused: Vec::new(),
            })
        })
    }

    fn before(&self, offsets: &Value) -> Vec<String> {
        let saved = offsets["offsets"].as_object().and_then(|all| all.values().next()?.as_u64());
        let written = self.written();
        let before = written.iter().take_while(|(end, _)| *end <= saved.unwrap_or(0));
        before.map(|(_, sent)| sent.id.clone()).collect()
    }
}

/// Writes a line of each key, again and again.
async fn write(mut file: File, written: Arc<Mutex<Vec<(u64, Sent)>>>) {
    let mut end = 0;
    for number in 1.. {
        for key in (0..KEYS).map(|key| format!("k{key}")) {
            let data = data(&key, number, PADDING);
            let sent = Sent {
                id: format!("line-{end}"),
                hash: hash(data.as_bytes()),
                key: key.clone(),
                number,
            };
            let line = format!("{key}\t{data}\n");
            if append(&mut file, &line).is_err() {
                return;
            }
            end += line.len() as u64;
            written.lock().unwrap_or_else(PoisonError::into_inner).push((end, sent));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn append(file: &mut File, line: &str) -> Result<()> {
    Ok(file.write_all(line.as_bytes())?)
}
