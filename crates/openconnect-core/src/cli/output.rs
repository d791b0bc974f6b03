//! Text for people, JSON for programs. Results go to stdout, errors to stderr.

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};

use serde_json::{Value, json};

use super::args::Format;
use crate::config::Problem;
use crate::error::Error;

/// How to print.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
    color: bool,
    quiet: Cell<bool>,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none();
        Self {
            format,
            color: wanted && io::stderr().is_terminal(),
            quiet: Cell::new(false),
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints a result: `json` for programs, the lines for people.
    pub(crate) fn result(&self, json: &Value, text: impl FnOnce() -> String) {
        if self.is_json() {
            self.line(&json.to_string());
        } else {
            self.line(text().trim_end());
        }
    }

    /// Prints to stdout. A reader that has gone away (`| head`) is no error.
    pub(crate) fn line(&self, text: &str) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// No error is printed from here on: the log has told it.
    pub(crate) fn quiet(&self) {
        self.quiet.set(true);
    }

    /// Prints what went wrong, and what to do.
    pub(crate) fn error(&self, error: &Error) {
        if self.quiet.get() {
            return;
        }
        let mut err = io::stderr().lock();
        let _ = if self.is_json() {
            let json = json!({ "error": { "code": error.code, "message": error.reason(), "hint": error.hint, "exit": error.exit.code() } });
            writeln!(err, "{json}")
        } else {
            let (red, bold, off) = if self.color {
                ("\x1b[31m", "\x1b[1m", "\x1b[0m")
            } else {
                ("", "", "")
            };
            let hint = error
                .hint
                .as_ref()
                .map(|hint| format!("\n{bold}what to do{off}: {hint}"))
                .unwrap_or_default();
            writeln!(err, "{red}error{off} {bold}{}{off}: {}{hint}", error.code, error.reason())
        };
    }

    /// For programs: each mistake of the configuration as an object.
    pub(crate) fn problems(&self, problems: &[Problem]) {
        if self.is_json() {
            let list: Vec<Value> = problems
                .iter()
                .map(|p| json!({ "code": p.code, "path": p.path, "place": p.place, "message": p.message }))
                .collect();
            self.line(&json!({ "ok": false, "problems": list }).to_string());
        }
    }
}
