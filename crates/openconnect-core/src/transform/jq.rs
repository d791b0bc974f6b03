//! jq programs, run by jaq.
//!
//! jaq has no limit on time, and a thread can't be stopped from outside. So each program runs on a thread of its own; when
//! it takes longer than [`LIMIT`], the failure is fatal: the connector stops, nothing is acknowledged, and the thread ends
//! with the process. Numbers travel as text where 64 bits or a double would not hold them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use cloudevents::Event;
use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Native, RcIter};
use jaq_json::Val;
use openconnect_protocol::{EventError, json};

use crate::error::{Error, Result};
use crate::failure::Failure;

/// How long a program may take for one event.
pub(super) const LIMIT: Duration = Duration::from_secs(2);
/// Data can be nested 128 levels deep, and jaq recurses.
const STACK: usize = 16 << 20;
/// Bytes of an output, at the most.
const LARGEST: usize = 64 << 20;
/// What a program must not reach: the environment (it has secrets), the process, the log.
const SHADOWS: &str = r#"def env: error("env is not allowed"); def halt: error("halt is not allowed"); def halt(x): halt;
def halt_error: halt; def halt_error(x): halt; def debug: .; def debug(x): .; def stderr: .;
def input: error("there is one input"); def inputs: empty;
"#;

type Compiled = jaq_core::Filter<Native<Val>>;
type Output = std::result::Result<Vec<String>, String>;
type Job = (String, SyncSender<Output>);

/// A program and its thread.
struct Program {
    jobs: SyncSender<Job>,
    stuck: AtomicBool,
}

impl Program {
    /// `around` has `PROGRAM` where the user's program goes; its input is the event's JSON as text.
    fn compile(place: &str, text: &str, around: &str) -> Result<Self> {
        // Alone first, so that what is wrong is told of the user's text.
        compiled(text).map_err(|reason| {
            Error::config("OC0123", format!("{place}: the jq program does not compile: {reason}"))
                .hint("The program sees the event as JSON: .type, .subject, .data and so on.")
        })?;
        let whole = format!("{SHADOWS}{}", around.replace("PROGRAM", &format!("({text}\n)")));
        let filter = compiled(&whole).map_err(|reason| Error::config("OC0123", format!("{place}: {reason}")))?;
        let (jobs, queue) = sync_channel(1);
        std::thread::Builder::new()
            .name("jq".to_owned())
            .stack_size(STACK)
            .spawn(move || serve(&filter, &queue))
            .map_err(|e| Error::config("OC0123", format!("{place}: no thread for the program: {e}")))?;
        Ok(Self {
            jobs,
            stuck: AtomicBool::new(false),
        })
    }

    fn run(&self, event: &Event) -> std::result::Result<Vec<String>, Failure> {
        let endless = || {
            Failure::fatal(
                "OC0125",
                format!("a jq program ran longer than {LIMIT:?} for one event; it may never end"),
            )
        };
        if self.stuck.load(Ordering::Acquire) {
            return Err(endless());
        }
        let text = String::from_utf8(json::encode(event)).map_err(|e| Failure::permanent("OC0126", e.to_string()))?;
        let (to, output) = sync_channel(1);
        let gone = || Failure::fatal("OC0125", "the thread of a jq program ended");
        self.jobs.send((text, to)).map_err(|_| gone())?;
        match output.recv_timeout(LIMIT) {
            Ok(Ok(outputs)) => Ok(outputs),
            Ok(Err(reason)) => Err(Failure::permanent("OC0126", format!("the jq program failed: {reason}"))),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                self.stuck.store(true, Ordering::Release);
                Err(endless())
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }
}

/// What is wrong, in few words.
fn compiled(text: &str) -> std::result::Result<Compiled, String> {
    let arena = Arena::default();
    let loader = Loader::new(jaq_std::defs().chain(jaq_json::defs()));
    let modules = loader.load(&arena, File { code: text, path: () }).map_err(|errors| {
        let first = errors.into_iter().next().map(|(_, error)| match error {
            jaq_core::load::Error::Io(_) => "modules can't be loaded".to_owned(),
            jaq_core::load::Error::Lex(errors) => errors.first().map_or_else(String::new, |(expected, at)| {
                format!("expected {} at `{}`", expected.as_str(), excerpt(at))
            }),
            jaq_core::load::Error::Parse(errors) => errors.first().map_or_else(String::new, |(expected, at)| {
                format!(
                    "expected {} at `{}`",
                    expected.as_str(),
                    if at.is_empty() { "its end" } else { excerpt(at) }
                )
            }),
        });
        first.unwrap_or_default()
    })?;
    let compiler = Compiler::default().with_funs(jaq_std::funs().chain(jaq_json::funs()));
    compiler.compile(modules).map_err(|errors| {
        let first = errors.into_iter().flat_map(|(_, errors)| errors).next();
        first.map_or_else(String::new, |(name, kind)| {
            format!("undefined {}: `{}`", kind.as_str(), excerpt(name))
        })
    })
}

fn excerpt(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.char_indices().nth(40).map_or(line, |(end, _)| &line[..end])
}

/// Runs one job after the other until the program is dropped. The errors of jq can carry data, so only their beginning that
/// jaq itself wrote is told.
fn serve(filter: &Compiled, queue: &Receiver<Job>) {
    while let Ok((text, to)) = queue.recv() {
        let inputs = RcIter::new(core::iter::empty());
        let mut outputs = Vec::new();
        let mut failed = None;
        // One more than is used, to tell that there are too many.
        for output in filter.run((Ctx::new([], &inputs), Val::from(text))).take(2) {
            match output {
                Ok(value) => outputs.push(value.to_string()),
                Err(error) => {
                    failed = Some(reason(&error.to_string()));
                    break;
                }
            }
        }
        if outputs.iter().any(|output| output.len() > LARGEST) {
            failed = Some("its output is too large".to_owned());
        }
        let _ = to.send(failed.map_or(Ok(outputs), Err));
    }
}

/// `cannot index {"a":…} with …` without the value.
fn reason(error: &str) -> String {
    let kept: String = error
        .chars()
        .take_while(|c| !matches!(c, '{' | '[' | '"') && !c.is_ascii_digit())
        .collect();
    if kept.trim().is_empty() {
        "an error was raised".to_owned()
    } else {
        kept.trim().to_owned()
    }
}

/// `jq:` the event that comes out replaces the one that goes in.
pub(super) struct Map(Program);

impl Map {
    pub(super) fn compile(place: &str, program: &str) -> Result<Self> {
        // All results in one output; the comparison tells whether the data can stay as the text that it was. Two
        // are enough to see that there is more than one.
        let around = "fromjson as $in | $in | \
            [limit(2; PROGRAM) | tojson, ($in.data == .data? and $in.data_base64 == .data_base64?)]";
        Ok(Self(Program::compile(place, program, around)?))
    }

    pub(super) fn apply(&self, event: Event) -> std::result::Result<Option<Event>, Failure> {
        let wrong = |what: String| Failure::permanent("OC0126", what);
        let outputs = self.0.run(&event)?;
        let [output] = outputs.as_slice() else {
            return Err(wrong("the jq program gave no result".to_owned()));
        };
        let pairs: Vec<serde_json::Value> = serde_json::from_str(output).map_err(|_| wrong("the result is no JSON".to_owned()))?;
        let (text, same) = match pairs.as_slice() {
            [] => return Ok(None),
            [serde_json::Value::String(text), serde_json::Value::Bool(same)] => (text, *same),
            _ => return Err(wrong("the jq program gave more than one event".to_owned())),
        };
        let invalid = |e: EventError| wrong(format!("the jq program's result is no event: {}", reason(&e.to_string())));
        let mut changed = json::decode(text.as_bytes()).map_err(invalid)?;
        if same {
            let (_, _, data) = event.clone().take_data();
            if let Some(data) = data {
                changed.set_data_unchecked(data);
            }
        }
        Ok(Some(changed))
    }
}

/// `filter:` the event goes on unchanged, or not.
pub(super) struct Filter(Program);

impl Filter {
    pub(super) fn compile(place: &str, program: &str) -> Result<Self> {
        Ok(Self(Program::compile(
            place,
            program,
            "fromjson | first(PROGRAM) | if . then true else empty end",
        )?))
    }

    pub(super) fn passes(&self, event: &Event) -> std::result::Result<bool, Failure> {
        Ok(!self.0.run(event)?.is_empty())
    }
}
