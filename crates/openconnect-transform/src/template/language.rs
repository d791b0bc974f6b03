//! What a template can say: names, filters and `if`.
//!
//! There is no way to make a text out of several inside a template, and no loop: each part is as large as something in the
//! event or what one filter made, filters have a limit, and the parts are counted as they are written. So the work and the
//! memory of a rendering follow from the lengths of the template and of the event. A step of jq does the rest.

use std::borrow::Cow;

use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, filters, tests};

/// Bytes of a template's text.
const LONGEST: usize = 4 << 10;
/// Bytes of a rendered text, and of what a filter makes.
pub(super) const OUTPUT: usize = 64 << 10;
/// Instructions of one rendering. The length of the template comes first.
const FUEL: u64 = 50_000;

const STATEMENTS: [&str; 4] = ["if", "elif", "else", "endif"];

/// An environment with the functions that templates have.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("abs", filters::abs);
    environment.add_filter("bool", filters::bool);
    environment.add_filter("capitalize", filters::capitalize);
    environment.add_filter("default", filters::default);
    environment.add_filter("first", filters::first);
    environment.add_filter("float", filters::float);
    environment.add_filter("int", filters::int);
    environment.add_filter("join", join);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", filters::length);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("replace", replace);
    environment.add_filter("round", filters::round);
    environment.add_filter("title", filters::title);
    environment.add_filter("tojson", tojson);
    environment.add_filter("trim", |text: Cow<'_, str>| text.trim().to_owned());
    environment.add_filter("upper", filters::upper);
    environment.add_filter("urlencode", urlencode);
    environment.add_test("boolean", tests::is_boolean);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("endingwith", tests::is_endingwith);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("none", tests::is_none);
    environment.add_test("number", tests::is_number);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("startingwith", tests::is_startingwith);
    environment.add_test("string", tests::is_string);
    environment.add_test("undefined", tests::is_undefined);
    environment
}

/// What a template holds that templates don't have.
pub(super) fn refused(text: &str) -> Option<String> {
    if text.len() > LONGEST {
        return Some(format!("it is longer than {} KiB", LONGEST >> 10));
    }
    let mut rest = text;
    while let Some((at, open)) = next_tag(rest) {
        let inside = &rest[at + 2..];
        let code = match open {
            "{#" => "",
            _ => code(inside),
        };
        let word = code.trim_start_matches(['-', '+']).split_whitespace().next().unwrap_or_default();
        if open == "{%" && !STATEMENTS.contains(&word.trim_end_matches('-')) {
            return Some(format!("it has `{word}`; of statements there is only `if`"));
        }
        if let Some(operator) = operators(code) {
            return Some(format!(
                "it has the operator `{operator}`; write texts beside each other, and calculate in a jq step"
            ));
        }
        let close = if open == "{#" { "#}" } else { "" };
        let end = inside[code.len()..].find(close).unwrap_or(0);
        rest = &inside[code.len() + end..];
    }
    None
}

fn next_tag(text: &str) -> Option<(usize, &'static str)> {
    ["{{", "{%", "{#"]
        .into_iter()
        .filter_map(|open| Some((text.find(open)?, open)))
        .min()
}

/// The code of a tag: up to its end, which is not looked for in texts in quotes.
fn code(inside: &str) -> &str {
    let end = outside_quotes(inside).find(|(at, _)| ["}}", "%}"].iter().any(|close| inside[*at..].starts_with(close)));
    end.map_or(inside, |(at, _)| &inside[..at])
}

fn operators(code: &str) -> Option<char> {
    outside_quotes(code).find_map(|(_, c)| matches!(c, '~' | '+' | '*').then_some(c))
}

fn outside_quotes(code: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut quote, mut escaped) = (None, false);
    code.char_indices().filter(move |(_, c)| {
        let outside = quote.is_none();
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if *c == '\\' => escaped = true,
            Some(mark) if *c == mark => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(*c),
            _ => {}
        }
        outside
    })
}

/// A text that is made piece by piece, up to [`OUTPUT`].
#[derive(Default)]
pub(super) struct Bounded(String);

impl Bounded {
    pub(super) fn into_text(self) -> String {
        self.0
    }

    fn push(&mut self, piece: &str) -> Result<(), Error> {
        if self.0.len() + piece.len() > OUTPUT {
            return Err(too_much());
        }
        self.0.push_str(piece);
        Ok(())
    }
}

fn too_much() -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("a text has more than {} KiB", OUTPUT >> 10))
}

impl std::fmt::Write for Bounded {
    fn write_str(&mut self, piece: &str) -> std::fmt::Result {
        self.push(piece).map_err(|_| std::fmt::Error)
    }
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let piece = std::str::from_utf8(bytes).map_err(std::io::Error::other)?;
        self.push(piece).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn join(list: &Value, between: Option<Cow<'_, str>>) -> Result<String, Error> {
    let mut out = Bounded::default();
    for (at, item) in list.try_iter()?.enumerate() {
        if at > 0 {
            out.push(between.as_deref().unwrap_or_default())?;
        }
        show(&item, &mut out)?;
    }
    Ok(out.0)
}

fn show(value: &Value, out: &mut Bounded) -> Result<(), Error> {
    use std::fmt::Write as _;
    match value.as_str() {
        Some(text) => out.push(text),
        None => write!(out, "{value}").map_err(|_| too_much()),
    }
}

fn replace(text: Cow<'_, str>, from: Cow<'_, str>, to: Cow<'_, str>) -> Result<String, Error> {
    let mut out = Bounded::default();
    let mut last = 0;
    for (at, found) in text.match_indices(&*from) {
        out.push(&text[last..at])?;
        out.push(&to)?;
        last = at + found.len();
    }
    out.push(&text[last..])?;
    Ok(out.0)
}

fn tojson(value: &Value) -> Result<String, Error> {
    let mut out = Bounded::default();
    serde_json::to_writer(&mut out, value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, "the value can't be made JSON").with_source(error))?;
    Ok(out.0)
}

fn urlencode(text: Cow<'_, str>) -> Result<String, Error> {
    let mut out = Bounded::default();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte).encode_utf8(&mut [0; 4]))?,
            _ => out.push(&format!("%{byte:02X}"))?,
        }
    }
    Ok(out.0)
}
