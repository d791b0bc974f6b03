//! Delivery: what a sink writes, and what a source answers of its input, from their arrival to their outcome.
//!
//! | file | what is in it |
//! |---|---|
//! | `state.rs` | [`DeliveryState`], pure: batches being written, retried and bisected; dead letters; pauses |
//! | `queues.rs` | entries that wait for their first write, by key and target |
//! | `rates.rs` | what rate limits have spent |
//! | `worker.rs` | starts writes and dead-letter writes, resolves outcomes |
//! | `writer.rs` | where it writes |
//! | `defects.rs` | what the proof of delivery spoils |
//! | `tests.rs` | the properties that hold for any order of arrivals, results and time |

mod defects;
mod queues;
pub(super) mod rates;
mod state;
#[cfg(test)]
mod tests;
mod worker;
mod writer;

pub(crate) use queues::BatchLimits;
pub(crate) use state::{Deliverable, DeliveryRules, DeliveryState};
pub(crate) use worker::{DeliveryWorker, Ended, Outcomes, Standing, Tasks};
pub(crate) use writer::Writer;
