//! Regular expressions, bounded: compiled size, and compiled size times length of the text.

use jaq_core::Cv;
use regex_lite::{Regex, RegexBuilder};

use super::meter::{self, Limit};
use super::value::{Array, Error, Kind, Object, Text, ValR, Value, signed};

/// Compiled sizes in bytes that are tried, so that a size is known.
const SIZES: [usize; 3] = [4 << 10, 16 << 10, 64 << 10];
/// Compiled size times bytes of text. One search takes time in proportion to it and can't be stopped.
const WORK: usize = 4 << 30;

/// What a program asks of an expression.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Matches,
    Between,
    Both,
}

#[derive(Default)]
struct Flags {
    global: bool,
    no_empty: bool,
}

/// jaq's `matches`, `split_` and `split_matches`: an array of matches (arrays, one object a group) and texts between them.
pub(super) fn apply(mut cv: Cv<'_, Value>, wanted: Wanted) -> ValR {
    let (flags, pattern) = (cv.0.pop_var(), cv.0.pop_var());
    let text = cv.1.text()?;
    let (regex, size, flags) = compile(pattern.text()?, flags.text()?)?;
    if text.len().saturating_mul(size) > WORK {
        meter::stop(Limit::Steps);
    }
    meter::work(text.len());
    let mut out = Array::default();
    let (mut last, mut position) = (0, Position::default());
    for captures in regex.captures_iter(text) {
        // The search before this could have looked at all of the text.
        meter::look();
        let Some(whole) = captures.get(0) else { continue };
        if flags.no_empty && whole.is_empty() {
            continue;
        }
        if wanted != Wanted::Matches {
            out.push(Kind::Text(Text::new(text[last..whole.start()].to_owned())));
        }
        last = whole.end();
        if wanted != Wanted::Between {
            let groups = captures.iter().zip(regex.capture_names());
            let mut found = Array::default();
            for (group, name) in groups {
                if let Some(group) = group {
                    found.push(describe(text, group, name, &mut position));
                }
            }
            out.push(Kind::Array(found.into()));
        }
        if !flags.global {
            break;
        }
    }
    if wanted != Wanted::Matches {
        out.push(Kind::Text(Text::new(text[last..].to_owned())));
    }
    Ok(out.into())
}

fn compile(pattern: &str, letters: &str) -> Result<(Regex, usize, Flags), Error> {
    let mut flags = Flags::default();
    let mut builder = RegexBuilder::new(pattern);
    for letter in letters.chars() {
        match letter {
            'g' => flags.global = true,
            'n' => flags.no_empty = true,
            'i' => drop(builder.case_insensitive(true)),
            'm' => drop(builder.multi_line(true)),
            's' => drop(builder.dot_matches_new_line(true)),
            'l' => drop(builder.swap_greed(true)),
            'x' => drop(builder.ignore_whitespace(true)),
            'p' => drop(builder.multi_line(true).dot_matches_new_line(true)),
            letter => return Err(Error::str(format_args!("invalid regex flag: {letter}"))),
        }
    }
    // What it takes to compile: about as much as a hundred steps, and its length.
    meter::work(32 * (100 + pattern.len()));
    let mut failed = None;
    for size in SIZES {
        match builder.size_limit(size).build() {
            Ok(regex) => return Ok((regex, size, flags)),
            Err(error) => failed = Some(error),
        }
    }
    Err(Error::str(match failed {
        Some(error) => format!("invalid regex: {error}"),
        None => "invalid regex".to_owned(),
    }))
}

/// Where in the text a byte is, in characters. Asked for with rising places as a rule; else it counts anew.
#[derive(Default)]
struct Position {
    byte: usize,
    chars: usize,
}

impl Position {
    fn of(&mut self, byte: usize, text: &str) -> usize {
        if byte < self.byte {
            *self = Self::default();
        }
        let passed = &text[self.byte..byte];
        meter::work(passed.len());
        self.chars += passed.chars().count();
        self.byte = byte;
        self.chars
    }
}

fn describe(text: &str, group: regex_lite::Match<'_>, name: Option<&str>, position: &mut Position) -> Kind {
    let mut object = Object::default();
    let mut set = |name: &str, value: Kind| object.insert(Text::new(name.to_owned()), value);
    set("offset", Kind::Int(signed(position.of(group.start(), text))));
    set("length", Kind::Int(signed(group.as_str().chars().count())));
    set("string", Kind::Text(Text::new(group.as_str().to_owned())));
    if let Some(name) = name {
        set("name", Kind::Text(Text::new(name.to_owned())));
    }
    Kind::Object(object.into())
}
