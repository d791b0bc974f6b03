//! Tells systemd that the connector is ready, lives and stops (`Type=notify`, `WatchdogSec=`). Elsewhere nothing is said.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::admin::StatusHandle;

/// How often the state is looked at, before it is ready and after.
const LOOK: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

/// Runs until `stop`. The watchdog is fed from the runtime's timer: a runtime that hangs feeds it no more. A target that is
/// down is no reason to be killed, so the state does not count.
pub(crate) async fn notify(status: StatusHandle, stop: CancellationToken) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let longest = sd_notify::watchdog_enabled().map_or(LOOK[1], |timeout| timeout / 3);
    let (mut ready, mut told) = (false, String::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => return say(&[NotifyState::Stopping, NotifyState::Status("stopping")]),
            () = tokio::time::sleep(LOOK[usize::from(ready)].min(longest)) => {}
        }
        say(&[NotifyState::Watchdog]);
        let state = match status.readiness() {
            Ok(()) => status.state().name().to_owned(),
            Err(reason) => reason,
        };
        if state != told {
            say(&[NotifyState::Status(&state)]);
            told = state;
        }
        if !ready && status.readiness().is_ok() {
            ready = true;
            say(&[NotifyState::Ready]);
        }
    }
}

fn say(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!(%error, "systemd can't be told");
    }
}
