//! A socket beside the data, for what the command line must ask of a running mesh: one line in, one line out.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::broker::{Broker, control_path};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Forget {
    pub(crate) topic: String,
    pub(crate) group: String,
}

/// Nobody gets more time than this for a line.
const LIMIT: Duration = Duration::from_secs(5);

pub(crate) fn spawn(broker: &Arc<Broker>) {
    let path = control_path(&broker.config.data);
    // The mesh's lock is held, so a socket that is there is a dead one.
    let _ = std::fs::remove_file(&path);
    match UnixListener::bind(&path) {
        Ok(listener) => {
            broker.tasks.spawn(serve(listener, Arc::clone(broker)));
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "no control socket: `groups forget` needs a stop")
        }
    }
}

async fn serve(listener: UnixListener, broker: Arc<Broker>) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = broker.stop.cancelled() => break,
        };
        if let Ok((stream, _)) = stream {
            let answered = tokio::time::timeout(LIMIT, answer(stream, &broker)).await;
            tracing::debug!(?answered, "control socket");
        }
    }
    let _ = std::fs::remove_file(control_path(&broker.config.data));
}

async fn answer(stream: UnixStream, broker: &Arc<Broker>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    (&mut stream).take(4096).read_line(&mut line).await?;
    let text = match serde_json::from_str::<Forget>(&line) {
        Err(error) => format!("error {error}\n"),
        Ok(Forget { topic, group }) => match broker.known_topic(&topic) {
            None => format!("error there is no topic `{topic}`\n"),
            Some(found) => {
                let name = group.clone();
                match tokio::task::spawn_blocking(move || found.forget(&name)).await {
                    Ok(Ok(true)) => "ok\n".to_owned(),
                    Ok(Ok(false)) => format!("error there is no group `{group}`\n"),
                    Ok(Err(reason)) => format!("error {reason}\n"),
                    Err(error) => format!("error {error}\n"),
                }
            }
        },
    };
    stream.get_mut().write_all(text.as_bytes()).await
}
