//! Where a worker writes.

use std::future::Future;

use cloudevents::Event;
use openconnect_fault::Failpoint;

use crate::failure::Failure;
use crate::sink::{Batch, Sink, Target, WriteReport};

/// Where entries go: a sink, or the source whose input they are.
pub(crate) trait Writer: Send + Sync + 'static {
    /// A write has its answer; nothing is noted.
    const WRITTEN: Failpoint;
    /// A dead letter is durable; its entry is not resolved.
    const DEAD_LETTER: Failpoint;
    /// What holds while writes fail and none succeeds, for people.
    const FAILING: &'static str;

    /// As [`Sink::target`].
    fn target(&self, event: &Event) -> Result<Target, Failure>;

    /// As [`Sink::write`].
    fn write(&self, batch: Batch) -> impl Future<Output = WriteReport> + Send;
}

impl<S: Sink> Writer for S {
    const WRITTEN: Failpoint = Failpoint::Written;
    const DEAD_LETTER: Failpoint = Failpoint::DeadLetter;
    const FAILING: &'static str = "the target does not take events";

    fn target(&self, event: &Event) -> Result<Target, Failure> {
        Sink::target(self, event)
    }

    async fn write(&self, batch: Batch) -> WriteReport {
        Sink::write(self, &batch).await
    }
}
