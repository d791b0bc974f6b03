//! The TCP protocol: `listener.rs` (accepting, connection limit), `session.rs` (one connection's reading and writing),
//! `commands.rs` (what each command does), `publish.rs` (frames to entries of the log), `acks.rs` (acknowledgements, one by one
//! or together), `outbox.rs` (outgoing bytes and pushes), `answer.rs` (frames without serde).

mod acks;
mod answer;
mod commands;
pub(crate) mod listener;
mod outbox;
mod publish;
mod session;
