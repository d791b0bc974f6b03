//! One program: its text compiled, and runs of it.

use std::fmt::{self, Write as _};

use jaq_core::load::{Arena, File, Lexer, Loader, Parser, lex, parse};
use jaq_core::{Compiler, Ctx, Native, RcIter};

use super::instrument::PROGRAM;
use super::meter::{LONGEST, Stopped};
use super::value::{self, ValR, Value};
use super::{instrument, json, meter, natives};
use openconnect_error::Failure;
use openconnect_error::{Error, Result};

use crate::codes;

pub(super) type Outputs<'a> = &'a mut dyn Iterator<Item = ValR>;

/// A compiled program.
pub(super) struct Program(jaq_core::Filter<Native<Value>>);

impl Program {
    /// Compiles; to be called on a thread with [`meter::COMPILE_STACK`].
    pub(super) fn compile(place: &str, text: &str) -> Result<Self> {
        compile(text).map(Self).map_err(|wrong| {
            let hint = match &wrong {
                Wrong::Undefined(name) if natives::REFUSED.contains(&name.as_str()) => {
                    "A program sees the event alone: no environment, no other input, no log, no process."
                }
                _ => "The program sees the event as JSON: .type, .subject, .data and so on.",
            };
            Error::config(codes::PROGRAM_INVALID, format!("{place}: the jq program does not compile"))
                .because(wrong)
                .hint(hint)
        })
    }

    /// Runs the program on JSON, on a thread with [`meter::THREAD_STACK`]. `read` sees the input and the outputs, of which
    /// only those that it asks for are made.
    pub(super) fn run<T>(
        &self,
        text: &str,
        read: impl FnOnce(&Value, Outputs<'_>) -> std::result::Result<T, String>,
    ) -> std::result::Result<T, Failure> {
        let done = meter::run(|| {
            let input = json::parse(text).map_err(|error| reason(&error))?;
            let others = RcIter::new(core::iter::empty());
            read(&input, &mut self.0.run((Ctx::new([], &others), input.clone())))
        });
        match done {
            Ok(result) => result.map_err(|reason| Failure::permanent(codes::PROGRAM_FAILED, format!("the jq program failed: {reason}"))),
            Err(Stopped::Limit(limit)) => Err(Failure::permanent(
                codes::PROGRAM_LIMIT,
                format!("the jq program {}", limit.describe()),
            )),
            Err(Stopped::Panicked) => Err(Failure::permanent(
                codes::PROGRAM_FAILED,
                "the jq program failed: a function of jq panicked",
            )),
        }
    }
}

/// Why a text is no program.
#[derive(Debug)]
enum Wrong {
    TooLong,
    TooDeep,
    Expected(String, String),
    Undefined(String),
    /// Undefined, but not a filter.
    Unbound(&'static str, String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "it is longer than {} KiB", LONGEST >> 10),
            Self::TooDeep => f.write_str("its terms are too deep in each other"),
            Self::Expected(what, at) if at.is_empty() => write!(f, "expected {what} at its end"),
            Self::Expected(what, at) => write!(f, "expected {what} at `{at}`"),
            Self::Undefined(name) if natives::REFUSED.contains(&name.as_str()) => write!(f, "`{name}` is not allowed"),
            Self::Undefined(name) => write!(f, "undefined filter: `{name}`"),
            Self::Unbound(kind, name) => write!(f, "undefined {kind}: `{name}`"),
        }
    }
}

impl std::error::Error for Wrong {}

fn compile(text: &str) -> std::result::Result<jaq_core::Filter<Native<Value>>, Wrong> {
    if text.len() > LONGEST {
        return Err(Wrong::TooLong);
    }
    let program = instrument::program(parsed(text)?).map_err(|_| Wrong::TooDeep)?;
    let own = parse(include_str!("defs.jq"), |p| p.defs()).unwrap_or_default();
    let library = jaq_std::defs().filter(|def| !natives::REFUSED.contains(&def.name));
    let definitions = library.chain(own).map(|def| instrument::library(def));
    let arena = Arena::default();
    let main = File { code: PROGRAM, path: () };
    let modules = Loader::new(definitions.chain([program]))
        .load(&arena, main)
        .map_err(|_| Wrong::Undefined(PROGRAM.to_owned()))?;
    Compiler::default().with_funs(natives::all()).compile(modules).map_err(|errors| {
        let first = errors.into_iter().flat_map(|(_, errors)| errors).next();
        let (name, kind) = first.map_or(("", "filter"), |(name, kind)| (name, kind.as_str()));
        match kind {
            _ if name == "$ENV" => Wrong::Undefined(name.to_owned()),
            "filter" => Wrong::Undefined(excerpt(name).to_owned()),
            kind => Wrong::Unbound(kind, excerpt(name).to_owned()),
        }
    })
}

fn parsed(text: &str) -> std::result::Result<parse::Term<&str>, Wrong> {
    let expected = |what: &str, at: &str| Wrong::Expected(what.to_owned(), excerpt(at).to_owned());
    let tokens = Lexer::new(text).lex().map_err(|errors| {
        let (what, at) = errors.first().map_or(("a program", ""), |(what, at)| (what.as_str(), *at));
        expected(what, at)
    })?;
    Parser::new(&tokens).parse(|p| p.term()).map_err(|errors| {
        let first = errors.first();
        let (what, at) = first.map_or(("a program", ""), |(what, at)| (what.as_str(), lex::Token::opt_as_str(*at, text)));
        expected(what, at)
    })
}

fn excerpt(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.char_indices().nth(40).map_or(line, |(end, _)| &line[..end])
}

/// What jaq says, without the values in it: they are data of the event. Only the beginning that jaq itself wrote is told.
pub(super) fn reason(error: &value::Error) -> String {
    struct Beginning(String);
    impl fmt::Write for Beginning {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.push_str(excerpt(text));
            if self.0.len() > 200 { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut beginning = Beginning(String::new());
    let _ = write!(beginning, "{error}");
    without_data(&beginning.0)
}

/// `cannot index {"a":…} with …` up to the value.
pub(super) fn without_data(text: &str) -> String {
    let kept: String = text
        .chars()
        .take_while(|c| !matches!(c, '{' | '[' | '"') && !c.is_ascii_digit())
        .collect();
    if kept.trim().is_empty() {
        "an error was raised".to_owned()
    } else {
        kept.trim().to_owned()
    }
}
