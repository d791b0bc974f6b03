//! Whether events can be taken now: by the mesh, or by the spool.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::mesh::MeshStatus;
use crate::source::Intake;

/// Who takes the events.
#[derive(Clone)]
pub(super) enum Accepting {
    Mesh(watch::Receiver<MeshStatus>),
    /// Why the spool takes nothing.
    Spool(watch::Receiver<Option<String>>),
}

impl Accepting {
    /// Why nothing is taken now.
    pub(super) fn trouble(&mut self) -> Option<String> {
        match self {
            Self::Mesh(mesh) => mesh_trouble(&mesh.borrow_and_update()),
            Self::Spool(spool) => spool.borrow_and_update().clone(),
        }
    }

    /// Waits for a change; false when there will be none. Cancel-safe.
    pub(super) async fn changed(&mut self) -> bool {
        match self {
            Self::Mesh(mesh) => mesh.changed().await.is_ok(),
            Self::Spool(spool) => spool.changed().await.is_ok(),
        }
    }

    /// Tells a source that can refuse whether events are taken, until shutdown or until the task is dropped. A drain takes nothing new.
    pub(super) fn shown(self, drain: bool, shutdown: &CancellationToken) -> (watch::Receiver<Intake>, Option<AbortOnDropHandle<()>>) {
        let (intake, seen) = watch::channel(if drain { Intake::Closed } else { Intake::Open });
        let following = (!drain).then(|| AbortOnDropHandle::new(tokio::spawn(self.follow(intake, shutdown.clone()))));
        (seen, following)
    }

    async fn follow(mut self, intake: watch::Sender<Intake>, shutdown: CancellationToken) {
        loop {
            let open = self.trouble().is_none();
            intake.send_replace(if open { Intake::Open } else { Intake::Blocked });
            tokio::select! {
                () = shutdown.cancelled() => break,
                more = self.changed() => if !more { break },
            }
        }
        intake.send_replace(Intake::Closed);
    }
}

/// Why the mesh takes nothing now.
pub(super) fn mesh_trouble(status: &MeshStatus) -> Option<String> {
    match status {
        MeshStatus::Connected => None,
        MeshStatus::Disconnected { reason } => Some(format!("no session with the mesh: {reason}")),
        MeshStatus::Refusing { reason } => Some(format!("the mesh refuses events: {reason}")),
    }
}
