//! What a template can say: names, filters, `if` and `for`.
//!
//! There is no way to make a text out of several inside a template: each part is as large as something in the event or what one filter
//! made, filters have a limit, and the parts are counted as they are written. A loop has a limited number of elements, stands in no other
//! loop, and what its body reads over and over is counted ([`work`]). So the work and the memory of a rendering follow from the lengths of
//! the template and of the event. A step of jq does the rest.

use std::borrow::Cow;

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, filters, tests};

use super::work;

/// Bytes of a rendered text, and of what a filter makes.
pub(super) const OUTPUT: usize = 64 << 10;
/// Instructions of one rendering. The length of the template comes first.
const FUEL: u64 = 50_000;
/// Elements that a loop goes over.
const ELEMENTS: usize = 1_000;

/// An environment with the functions that templates have.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("abs", filters::abs);
    environment.add_filter("bool", filters::bool);
    add_text_filter(&mut environment, "capitalize", capitalize);
    environment.add_filter("default", filters::default);
    environment.add_filter("each", each);
    environment.add_filter("first", filters::first);
    environment.add_filter("float", filters::float);
    environment.add_filter("int", filters::int);
    environment.add_filter("join", join);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", length);
    add_text_filter(&mut environment, "lower", str::to_lowercase);
    environment.add_filter("replace", replace);
    environment.add_filter("round", filters::round);
    add_text_filter(&mut environment, "title", |text| filters::title(text.into()));
    environment.add_filter("tojson", tojson);
    add_text_filter(&mut environment, "trim", |text| text.trim().to_owned());
    add_text_filter(&mut environment, "upper", str::to_uppercase);
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

/// Adds a filter that makes a text of a text.
fn add_text_filter(environment: &mut Environment<'static>, name: &'static str, change: fn(&str) -> String) {
    environment.add_filter(name, move |state: &State<'_, '_>, text: Cow<'_, str>| -> Result<String, Error> {
        work::read(state, text.len())?;
        Ok(change(&text))
    });
}

fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.collect::<String>() + &chars.as_str().to_lowercase()
}

/// What a loop goes over: a list or map, if it has not too many elements. `uses`: how often the loop's body names an element.
fn each(state: &State<'_, '_>, list: &Value, uses: usize) -> Result<Value, Error> {
    let wrong = |what: String| Err(Error::new(ErrorKind::InvalidOperation, what));
    if !matches!(list.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
        return wrong(format!("a loop over a value of type {}; it must be a list or a map", list.kind()));
    }
    let elements: Vec<Value> = list.try_iter()?.take(ELEMENTS + 1).collect();
    if elements.len() > ELEMENTS {
        return wrong(format!("a loop over more than {ELEMENTS} elements"));
    }
    let elements = Value::from(elements);
    work::read_list(state, &elements, uses)?;
    Ok(elements)
}

fn length(state: &State<'_, '_>, value: &Value) -> Result<usize, Error> {
    work::read(state, value.as_str().map_or(0, str::len))?;
    filters::length(value)
}

/// A text that is made piece by piece, up to [`OUTPUT`].
#[derive(Default)]
pub(super) struct Bounded(String);

impl Bounded {
    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// The text as what a filter gives, which the rendering then reads.
    fn into_value(self, state: &State<'_, '_>) -> Result<String, Error> {
        work::read(state, self.0.len())?;
        Ok(self.0)
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

fn join(state: &State<'_, '_>, list: &Value, between: Option<Cow<'_, str>>) -> Result<String, Error> {
    work::read(state, list.len().unwrap_or_default())?;
    let mut out = Bounded::default();
    for (at, item) in list.try_iter()?.enumerate() {
        if at > 0 {
            out.push(between.as_deref().unwrap_or_default())?;
        }
        show(&item, &mut out)?;
    }
    out.into_value(state)
}

fn show(value: &Value, out: &mut Bounded) -> Result<(), Error> {
    use std::fmt::Write as _;
    match value.as_str() {
        Some(text) => out.push(text),
        None => write!(out, "{value}").map_err(|_| too_much()),
    }
}

fn replace(state: &State<'_, '_>, text: Cow<'_, str>, from: Cow<'_, str>, to: Cow<'_, str>) -> Result<String, Error> {
    work::read(state, text.len())?;
    let mut out = Bounded::default();
    let mut last = 0;
    for (at, found) in text.match_indices(&*from) {
        out.push(&text[last..at])?;
        out.push(&to)?;
        last = at + found.len();
    }
    out.push(&text[last..])?;
    out.into_value(state)
}

fn tojson(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let mut out = Bounded::default();
    serde_json::to_writer(&mut out, value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, "the value can't be made JSON").with_source(error))?;
    out.into_value(state)
}

fn urlencode(state: &State<'_, '_>, text: Cow<'_, str>) -> Result<String, Error> {
    let mut out = Bounded::default();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte).encode_utf8(&mut [0; 4]))?,
            _ => out.push(&format!("%{byte:02X}"))?,
        }
    }
    out.into_value(state)
}
