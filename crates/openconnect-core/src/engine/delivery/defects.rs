//! Defects that the proof of delivery plants in a sink, to show that it finds them. Without the feature `defects` of
//! `openconnect-fault`, which no release has, the functions here give back what they get.

use openconnect_fault::{Defect, planted};

use crate::engine::intake::{Entry, Origin};
use crate::failure::FailureKind;
use crate::sink::WriteReport;

/// Spoils an entry on its way in; gives its origin when it is to be acknowledged at once.
pub(super) fn spoil_entry(entry: &mut Entry) -> Option<Origin> {
    if planted(Defect::ReorderOnRetry) {
        entry.key = None;
    }
    planted(Defect::AckBeforeWrite).then(|| std::mem::replace(&mut entry.origin, Origin::Inbox(0)))
}

/// Spoils the report of a write of so many events.
pub(super) fn spoil_report(report: WriteReport, events: usize, draining: bool) -> WriteReport {
    let WriteReport::Failed(failure) = &report else { return report };
    let swallowed = match failure.kind {
        FailureKind::Permanent if events > 1 => planted(Defect::PoisonBatch),
        FailureKind::Permanent => planted(Defect::SwallowedFailure),
        FailureKind::Retryable { .. } | FailureKind::Throttled { .. } => draining && planted(Defect::DropOnShutdown),
        FailureKind::Fatal => false,
    };
    if swallowed { WriteReport::Delivered } else { report }
}
