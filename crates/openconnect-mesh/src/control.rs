//! A socket beside the data, for what the command line must ask of a running mesh: one line in, one line out.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::broker::{Broker, control_path};
use crate::connection::Doors;

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    Forget { topic: String, group: String },
    Status,
}

/// What only a running mesh knows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) tcp: Connections,
    pub(crate) grpc: Connections,
    /// Topic, group, subscribers.
    pub(crate) groups: Vec<(String, String, usize)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Connections {
    pub(crate) open: usize,
    /// Since the start, because the most that are allowed were open.
    pub(crate) refused: u64,
}

impl Connections {
    fn of(doors: &Doors) -> Self {
        Self {
            open: doors.open(),
            refused: doors.refused(),
        }
    }
}

impl Status {
    fn of(broker: &Broker) -> Self {
        let topics = broker.all_topics();
        let groups = topics.iter().flat_map(|topic| {
            let members = topic.members().into_iter();
            members.map(|(group, members)| (topic.name.to_string(), group, members))
        });
        Self {
            tcp: Connections::of(&broker.tcp),
            grpc: Connections::of(&broker.grpc),
            groups: groups.collect(),
        }
    }
}

/// Nobody gets more time than this for a line.
const LIMIT: Duration = Duration::from_secs(5);

pub(crate) fn spawn(broker: &Arc<Broker>) {
    let path = control_path(&broker.config.data);
    // The mesh's lock is held, so a socket that is there is a dead one.
    let _ = std::fs::remove_file(&path);
    match UnixListener::bind(&path) {
        Ok(listener) => {
            if let Err(error) = std::fs::set_permissions(&path, Permissions::from_mode(0o600)) {
                tracing::warn!(path = %path.display(), %error, "others may reach the control socket");
            }
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
    let text = match serde_json::from_str::<Ask>(&line) {
        Err(error) => format!("error {error}\n"),
        Ok(Ask::Status) => serde_json::to_string(&Status::of(broker))? + "\n",
        Ok(Ask::Forget { topic, group }) => match broker.known_topic(&topic) {
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
