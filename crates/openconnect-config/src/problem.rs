//! Mistakes in a configuration: all of them at once, each with its code, path and place.

use std::fmt;

use openconnect_error::{Code, Error};

use crate::codes;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Stable code with a page in `docs/errors/`.
    pub code: Code,
    /// Dotted path of the setting; empty when the mistake is about the whole file.
    pub path: String,
    /// `file:line:column`, or which environment variable or flag.
    pub place: String,
    /// What is wrong, and the nearest right thing. Never the value of a secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        if !self.path.is_empty() {
            write!(f, " {}", self.path)?;
        }
        write!(f, ": {} [{}]", self.message, self.code)
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Where the configuration came from.
    pub origin: String,
    /// The mistakes; never empty.
    pub problems: Vec<Problem>,
}

impl Rejected {
    /// One mistake, about all of `origin`.
    pub fn one(origin: &str, code: Code, message: impl Into<String>) -> Self {
        let problem = Problem {
            code,
            path: String::new(),
            place: origin.to_owned(),
            message: message.into(),
        };
        Self {
            origin: origin.to_owned(),
            problems: vec![problem],
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.problems.len();
        write!(f, "{} has {n} mistake{}", self.origin, if n == 1 { "" } else { "s" })?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        let code = match rejected.problems.as_slice() {
            [only] => only.code,
            _ => codes::SEVERAL_MISTAKES,
        };
        Self::config(code, rejected.to_string()).hint("`config example` prints every setting with its explanation")
    }
}

/// Mistakes that a `validate` found: what types cannot say.
#[derive(Debug, Default)]
pub struct Problems(pub(crate) Vec<(String, String)>);

impl Problems {
    /// Reports a mistake at `path`: dotted, relative to the section that is validated, e.g. `auth.token_url`. The message never
    /// holds the value of a secret.
    pub fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push((path.into(), message.into()));
    }

    /// The mistakes so far: path and message.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(path, message)| (path.as_str(), message.as_str()))
    }
}
