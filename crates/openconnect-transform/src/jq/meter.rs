//! What a jq program may use, and the meter that stops it.
//!
//! jaq has no limits of its own, but whatever a program does goes through three doors: it makes values, it grows or walks
//! them, and it calls functions. Each door is metered (`value.rs`, `instrument.rs`), so between two readings of the meter
//! only a bounded amount of work is done, memory taken, or stack used.
//!
//! A program that has used up what it may is stopped by unwinding: jq can catch an error (`try`, `//`), and many of jaq's
//! operations can't fail. [`run`] catches the unwinding; dropping what the program held gives all memory back.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

#[cfg(panic = "abort")]
compile_error!("jq programs are stopped by unwinding: build with panic = \"unwind\"");

/// Bytes of a program's text.
pub(super) const LONGEST: usize = 16 << 10;
/// Steps of one run: values made or looked at, calls, and 32 bytes copied or compared each count as one; deep in the stack
/// as more.
pub(super) const STEPS: u64 = 10_000_000;
/// Processor time of one run. Steps come first, as a rule; this holds where they take unusually long.
pub(super) const TIME: Duration = Duration::from_secs(2);
/// Bytes that the values of one run take at a time.
pub(super) const MEMORY: usize = 64 << 20;
/// Bytes of one text, and of what a value is as JSON.
pub(super) const TEXT: usize = 8 << 20;
/// Levels of arrays and objects in each other.
pub(super) const DEPTH: u16 = 256;
/// Bytes of stack that a run may use.
pub(super) const STACK: usize = 16 << 20;
/// Bytes of the stack of the thread that a program runs on. Between two readings of the meter, and where values and closures are
/// dropped, it goes deeper than [`STACK`], by less than that again.
pub(in super::super) const THREAD_STACK: usize = 4 * STACK;

/// Bytes of the stack that a program's text needs to be compiled: some 15 KiB for each of its bytes, unoptimised, when it is
/// nothing but brackets.
pub(in super::super) const COMPILE_STACK: usize = LONGEST * (16 << 10);

/// What a value that is in a program's hands is counted as: itself, and the iterator or variable that holds it.
const HANDLE: usize = 128;
/// Steps between two looks at the clock.
const SLICE: u64 = 16_384;

/// What a stopped program had too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Steps,
    Time,
    Memory,
    Text,
    Depth,
    Stack,
}

impl Limit {
    /// For people: `the jq program …`.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Steps => format!("took more than {STEPS} steps for one event"),
            Self::Time => format!("took more than {TIME:?} of processor time for one event"),
            Self::Memory => format!("needed more than {} MiB of memory for one event", MEMORY >> 20),
            Self::Text => format!("made a text of more than {} MiB", TEXT >> 20),
            Self::Depth => format!("made a value that is nested more than {DEPTH} levels deep"),
            Self::Stack => "called itself too deeply".to_owned(),
        }
    }
}

/// Why a run has no result.
#[derive(Debug)]
pub(super) enum Stopped {
    Limit(Limit),
    /// A panic in jaq.
    Panicked,
}

struct Meter {
    /// Steps until the next look at the clock.
    slice: Cell<u64>,
    /// Steps after this slice.
    rest: Cell<u64>,
    memory: Cell<usize>,
    /// Address in the stack where the run began.
    base: Cell<usize>,
    deadline: Cell<Duration>,
}

thread_local! {
    static METER: Meter = const {
        Meter { slice: Cell::new(0), rest: Cell::new(0), memory: Cell::new(0), base: Cell::new(0), deadline: Cell::new(Duration::ZERO) }
    };
}

/// Runs a program on this thread, which must have [`THREAD_STACK`]. Not to be nested.
pub(super) fn run<T>(program: impl FnOnce() -> T) -> Result<T, Stopped> {
    let start = 0_u8;
    METER.with(|meter| {
        meter.slice.set(SLICE);
        meter.rest.set(STEPS - SLICE);
        meter.memory.set(0);
        meter.base.set(address(&start));
        meter.deadline.set(processor_time() + TIME);
    });
    catch_unwind(AssertUnwindSafe(program)).map_err(|payload: Box<dyn Any + Send>| {
        payload
            .downcast_ref::<Limit>()
            .map_or(Stopped::Panicked, |limit| Stopped::Limit(*limit))
    })
}

/// Ends the run.
#[cold]
pub(super) fn stop(limit: Limit) -> ! {
    resume_unwind(Box::new(limit))
}

/// Counts one step, and looks at the stack. What is asked for through a pile of iterators costs more, by its height.
pub(super) fn step() {
    let here = 0_u8;
    METER.with(|meter| {
        // The stack grows downwards wherever Rust runs connectors.
        let height = meter.base.get().saturating_sub(address(&here));
        if height > STACK {
            stop(Limit::Stack);
        }
        meter.spend(1 + height as u64 / 4096);
    });
}

/// Counts the steps of work on that many bytes.
pub(super) fn work(bytes: usize) {
    METER.with(|meter| meter.spend(bytes as u64 / 32));
}

/// Counts one step and looks at the clock: after work that can take long and that steps don't count.
pub(super) fn look() {
    step();
    METER.with(Meter::look);
}

impl Meter {
    fn look(&self) {
        if processor_time() > self.deadline.get() {
            stop(Limit::Time);
        }
    }

    fn spend(&self, steps: u64) {
        match self.slice.get().checked_sub(steps) {
            Some(left) => self.slice.set(left),
            None => self.next_slice(steps - self.slice.get()),
        }
    }

    #[cold]
    fn next_slice(&self, owed: u64) {
        let Some(rest) = self.rest.get().checked_sub(owed) else {
            stop(Limit::Steps)
        };
        let slice = rest.min(SLICE);
        self.slice.set(slice);
        self.rest.set(rest - slice);
        self.look();
    }

    fn take(&self, bytes: usize) {
        let memory = self.memory.get().saturating_add(bytes);
        if memory > MEMORY {
            stop(Limit::Memory);
        }
        self.memory.set(memory);
    }

    fn give(&self, bytes: usize) {
        self.memory.set(self.memory.get().saturating_sub(bytes));
    }
}

fn address(local: &u8) -> usize {
    std::ptr::from_ref(local).addr()
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// One value in a program's hands. To make one is a step.
#[derive(Debug)]
pub(super) struct Handle(());

impl Handle {
    pub(super) fn new() -> Self {
        step();
        METER.with(|meter| meter.take(HANDLE));
        Self(())
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        METER.with(|meter| meter.give(HANDLE));
    }
}

/// Memory that a text, an array or an object takes, for as long as it is there.
#[derive(Debug, Default)]
pub(super) struct Memory(usize);

impl Memory {
    pub(super) fn new(bytes: usize) -> Self {
        let mut memory = Self(0);
        memory.grow(bytes);
        memory
    }

    /// More of it. To fill it is work.
    pub(super) fn grow(&mut self, bytes: usize) {
        work(bytes);
        METER.with(|meter| meter.take(bytes));
        self.0 += bytes;
    }
}

impl Clone for Memory {
    fn clone(&self) -> Self {
        Self::new(self.0)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        METER.with(|meter| meter.give(self.0));
    }
}
