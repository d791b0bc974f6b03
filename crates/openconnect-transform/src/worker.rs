//! The thread on which jq programs run: they need more stack than the runtime's threads have, and must not block those.

use std::panic::resume_unwind;
use std::sync::Arc;

use cloudevents::Event;
use tokio::sync::{mpsc, oneshot};

use super::jq::{COMPILE_STACK, THREAD_STACK};
use super::{Steps, Transformed};
use openconnect_error::Failure;
use openconnect_error::{Error, Result};

use crate::codes;

/// Some events, and where they go.
struct Job {
    events: Vec<Arc<Event>>,
    to: oneshot::Sender<Vec<Transformed>>,
}

/// The thread ends when this is dropped, and with what a program may at most take for one event.
pub(super) struct Worker {
    jobs: mpsc::Sender<Job>,
}

impl Worker {
    pub(super) fn start(steps: Steps) -> Result<Self> {
        let (jobs, mut queue) = mpsc::channel::<Job>(1);
        thread(THREAD_STACK)
            .spawn(move || {
                while let Some(Job { events, to }) = queue.blocking_recv() {
                    // Who no longer waits needs no answer.
                    let wanted = events.into_iter().take_while(|_| !to.is_closed());
                    let done = wanted.map(|event| steps.apply(event)).collect();
                    let _ = to.send(done);
                }
            })
            .map_err(no_thread)?;
        Ok(Self { jobs })
    }

    pub(super) async fn apply(&self, events: Vec<Arc<Event>>) -> std::result::Result<Vec<Transformed>, Failure> {
        let gone = || Failure::fatal(codes::PROGRAM_LIMIT, "the thread of the jq programs ended; this is a bug");
        let (to, done) = oneshot::channel();
        self.jobs.send(Job { events, to }).await.map_err(|_| gone())?;
        done.await.map_err(|_| gone())
    }
}

/// Calls `compile` with the stack that a program's text can need.
pub(super) fn with_stack<T: Send>(compile: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let compiling = thread(COMPILE_STACK).spawn_scoped(scope, compile).map_err(no_thread)?;
        compiling.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn thread(stack: usize) -> std::thread::Builder {
    std::thread::Builder::new().name("jq".to_owned()).stack_size(stack)
}

fn no_thread(error: std::io::Error) -> Error {
    Error::config(codes::PROGRAM_INVALID, "no thread for the jq programs").because(error)
}
