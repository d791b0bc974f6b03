//! The TCP protocol: `listener.rs` (accepting, connection limit), `session.rs` (one connection's reading and writing),
//! `commands.rs` (what each command does), `head.rs` (what is looked at in a header), `publish.rs` (frames to entries of the log), `gathering.rs` (publishes of one
//! buffer, handed on together), `committing.rs` (what is on its way to the disk), `acks.rs` (acknowledgements, one by one
//! or together), `outbox.rs` (outgoing bytes and pushes), `answer.rs` (frames without serde).

mod acks;
mod answer;
mod commands;
mod committing;
mod gathering;
mod head;
pub(crate) mod listener;
mod outbox;
mod publish;
mod session;
