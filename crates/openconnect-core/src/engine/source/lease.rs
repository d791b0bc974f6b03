//! Which process may publish: waits as a standby until the lease is this one's, renews it, and tells at once when it may be
//! another's.
//!
//! The database's clock decides when a lease is over. This process holds itself to less: from the moment a renewal was *sent*
//! it counts nine tenths of the lease's time, on a clock that goes on while the machine sleeps or the process is stopped.

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::{Role, State, StatusHandle};
use crate::error::{Error, Result};
use crate::offsets::{Acquired, Fence, OffsetStore, lease_lost};

/// The right to publish and to move offsets.
pub(crate) struct Lease {
    store: Arc<dyn OffsetStore>,
    fence: Fence,
    hold: watch::Receiver<Hold>,
    lost: CancellationToken,
    /// None where no other process can take over.
    _keeper: Option<AbortOnDropHandle<()>>,
}

/// What the last renewal brought.
#[derive(Debug, Clone)]
struct Hold {
    /// On the clock of [`now`].
    until: Duration,
    /// Why the lease could not be renewed.
    trouble: Option<String>,
}

/// Time since the machine started, with the time that it slept.
fn now() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

impl Lease {
    /// Waits until the lease of this instance is this process's; `None` when the connector shall stop before that.
    pub(crate) async fn wait(
        store: Arc<dyn OffsetStore>,
        ttl: Duration,
        status: &StatusHandle,
        shutdown: &CancellationToken,
    ) -> Result<Option<Self>> {
        // A new process is a new owner, also in the same container.
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let owner = format!("{:.100} {} {}", host.trim(), std::process::id(), uuid::Uuid::new_v4());
        let mut told = None;
        loop {
            let sent = now();
            let acquired = tokio::select! {
                acquired = store.acquire(&owner, ttl) => acquired,
                () = shutdown.cancelled() => return Ok(None),
            };
            match acquired {
                Ok(Acquired::Granted(fence)) => {
                    status.set_state(State::Starting);
                    return Ok(Some(Self::held(store, fence, sent, ttl, status)));
                }
                Ok(Acquired::Held { owner: other, .. }) => {
                    status.set_state(State::Standby);
                    status.set_role(Role::Standby { behind: other.clone() });
                    if told.as_ref() != Some(&other) {
                        tracing::info!(active = other, "standing by");
                        told = Some(other);
                    }
                }
                Err(e) if store.is_shared() => {
                    tracing::warn!(code = %e.code, "{}", e.reason());
                    status.error(e.code, e.reason());
                    status.set_state(State::Blocked(e.reason()));
                }
                Err(e) => return Err(e),
            }
            tokio::select! {
                () = tokio::time::sleep((ttl / 6).max(Duration::from_millis(100))) => {}
                () = shutdown.cancelled() => return Ok(None),
            }
        }
    }

    fn held(store: Arc<dyn OffsetStore>, fence: Fence, sent: Duration, ttl: Duration, status: &StatusHandle) -> Self {
        let lost = CancellationToken::new();
        let shared = store.is_shared();
        let (keep, hold) = watch::channel(Hold {
            until: if shared { lasts(sent, ttl) } else { Duration::MAX },
            trouble: None,
        });
        let keeper = shared.then(|| {
            status.set_role(Role::Active { fence });
            tracing::info!(fence, store = store.place(), "active");
            let (store, status, lost) = (Arc::clone(&store), status.clone(), lost.clone());
            AbortOnDropHandle::new(tokio::spawn(async move {
                renew(store, fence, ttl, &keep, &status).await;
                lost.cancel();
            }))
        });
        Self {
            store,
            fence,
            hold,
            lost,
            _keeper: keeper,
        }
    }

    /// The number under which offsets are stored.
    pub(crate) fn fence(&self) -> Fence {
        self.fence
    }

    /// Follows whether the lease can be renewed.
    pub(crate) fn watch(&self) -> Watch {
        Watch {
            hold: self.hold.clone(),
            lost: self.lost.clone(),
        }
    }

    /// The error that stops this process, once another has the lease.
    pub(crate) fn lost(&self) -> Option<Error> {
        self.lost.is_cancelled().then(|| lease_lost(self.store.place()))
    }

    /// A write was refused: another has the lease.
    pub(crate) fn taken(&self) -> Error {
        self.lost.cancel();
        lease_lost(self.store.place())
    }

    /// Lets another process take over now.
    pub(crate) async fn release(self) {
        if self.store.is_shared()
            && let Err(e) = self.store.release(self.fence).await
        {
            tracing::warn!(code = %e.code, "the lease could not be given back, it ends by itself: {}", e.reason());
        }
    }
}

/// What the tasks of a source see of its lease.
pub(crate) struct Watch {
    hold: watch::Receiver<Hold>,
    lost: CancellationToken,
}

impl Watch {
    /// Something changed: `false` when another process has the lease, else look at [`Self::trouble`]. Never returns where no
    /// other process can take over.
    pub(crate) async fn changed(&mut self) -> bool {
        tokio::select! {
            () = self.lost.cancelled() => false,
            Ok(()) = self.hold.changed() => true,
        }
    }

    /// Returns when this process may publish: at once while the lease lasts, else after it was renewed.
    pub(crate) async fn lasting(&self) {
        let mut hold = self.hold.clone();
        // The sender ends with the lease, and then `lost` stops the connector.
        let renewed = hold.wait_for(|hold| now() < hold.until).await.is_ok();
        if !renewed {
            std::future::pending::<()>().await;
        }
    }

    /// Why nothing may be published now.
    pub(crate) fn trouble(&mut self) -> Option<String> {
        let hold = self.hold.borrow_and_update();
        hold.trouble.clone().filter(|_| now() >= hold.until)
    }
}

fn lasts(sent: Duration, ttl: Duration) -> Duration {
    sent + ttl.mul_f64(0.9)
}

/// Renews until another has the lease. A lease that is over is renewed too, as long as nobody has taken it.
async fn renew(store: Arc<dyn OffsetStore>, fence: Fence, ttl: Duration, keep: &watch::Sender<Hold>, status: &StatusHandle) {
    let mut wait = ttl / 3;
    loop {
        tokio::time::sleep(wait).await;
        let sent = now();
        match store.renew(fence, ttl).await {
            Ok(true) => {
                wait = ttl / 3;
                keep.send_replace(Hold {
                    until: lasts(sent, ttl),
                    trouble: None,
                });
            }
            Ok(false) => return,
            Err(e) => {
                wait = (ttl / 12).max(Duration::from_millis(100));
                tracing::warn!(code = %e.code, "the lease can't be renewed: {}", e.reason());
                status.error(e.code, e.reason());
                keep.send_modify(|hold| hold.trouble = Some(e.reason()));
            }
        }
    }
}
