//! The filters and tests that a template can name. Each filter is charged with what it reads, and what it makes is bounded.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, FixedOffset};
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, filters, tests};

use super::text::{self, Bounded, of_defined, write_json};
use super::{json, work};

/// Elements that a loop goes over.
const ELEMENTS: usize = 1_000;
/// The filter that bounds a loop, and the one that makes numbers of what is compared or calculated with. Templates get them where they are
/// compiled, and can't name them.
pub(super) const BOUND: &str = "each";
pub(super) const CALCULABLE: &str = "calculable";

/// The filters, and how many arguments each takes in its parentheses.
pub(super) const FILTERS: [(&str, RangeInclusive<usize>); 19] = [
    ("abs", 0..=0),
    ("bool", 0..=0),
    ("capitalize", 0..=0),
    ("date", 1..=1),
    ("default", 0..=2),
    ("first", 0..=0),
    ("float", 0..=0),
    ("int", 0..=0),
    ("join", 0..=1),
    ("last", 0..=0),
    ("length", 0..=0),
    ("lower", 0..=0),
    ("replace", 2..=2),
    ("round", 0..=1),
    ("title", 0..=0),
    ("tojson", 0..=0),
    ("trim", 0..=0),
    ("upper", 0..=0),
    ("urlencode", 0..=0),
];

/// The tests (`is defined`), and how many arguments each takes.
pub(super) const TESTS: [(&str, RangeInclusive<usize>); 10] = [
    ("boolean", 0..=0),
    ("defined", 0..=0),
    ("endingwith", 1..=1),
    ("mapping", 0..=0),
    ("none", 0..=0),
    ("number", 0..=0),
    ("sequence", 0..=0),
    ("startingwith", 1..=1),
    ("string", 0..=0),
    ("undefined", 0..=0),
];

/// Adds them all.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter(BOUND, each);
    environment.add_filter(CALCULABLE, json::calculable);
    environment.add_filter("abs", |value: &Value| filters::abs(json::calculable(value)?));
    environment.add_filter("bool", filters::bool);
    add_text_filter(environment, "capitalize", capitalize);
    environment.add_filter("date", date);
    environment.add_filter("default", filters::default);
    environment.add_filter("first", filters::first);
    environment.add_filter("float", |state: &State<'_, '_>, value: &Value| {
        filters::float(state, &json::calculable(value)?)
    });
    environment.add_filter("int", |state: &State<'_, '_>, value: &Value| {
        filters::int(state, &json::calculable(value)?)
    });
    environment.add_filter("join", join);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", length);
    add_text_filter(environment, "lower", str::to_lowercase);
    environment.add_filter("replace", replace);
    environment.add_filter("round", |value: &Value, places: Option<i32>| {
        filters::round(json::calculable(value)?, places)
    });
    add_text_filter(environment, "title", |text| filters::title(text.into()));
    environment.add_filter("tojson", tojson);
    add_text_filter(environment, "trim", |text| text.trim().to_owned());
    add_text_filter(environment, "upper", str::to_uppercase);
    environment.add_filter("urlencode", urlencode);
    environment.add_test("boolean", tests::is_boolean);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("endingwith", tests::is_endingwith);
    environment.add_test("mapping", tests::is_mapping);
    // JSON's null is absent.
    environment.add_test("none", |value: &Value| value.is_none() || value.is_undefined());
    environment.add_test("number", |value: &Value| value.is_number() || value.kind() == ValueKind::Plain);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("startingwith", tests::is_startingwith);
    environment.add_test("string", tests::is_string);
    environment.add_test("undefined", tests::is_undefined);
}

/// Adds a filter that makes a text of a text.
fn add_text_filter(environment: &mut Environment<'static>, name: &'static str, change: fn(&str) -> String) {
    environment.add_filter(name, move |state: &State<'_, '_>, value: &Value| -> Result<String, Error> {
        let text = of_defined(value)?;
        work::read(state, text.len())?;
        Ok(change(&text))
    });
}

fn wrong(what: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.collect::<String>() + &chars.as_str().to_lowercase()
}

/// A time as `format` writes it, in the zone that it has.
fn date(time: &Value, format: &str) -> Result<String, Error> {
    let text = of_defined(time)?;
    let time = DateTime::<FixedOffset>::parse_from_rfc3339(&text)
        .map_err(|error| wrong("the value is not a time with a zone, such as 2026-01-31T10:00:00Z".to_owned()).with_source(error))?;
    let items = date_items(format).map_err(wrong)?;
    let mut out = Bounded::default();
    std::fmt::Write::write_fmt(&mut out, format_args!("{}", time.format_with_items(items.iter())))
        .map_err(|_| wrong("a date is too long".to_owned()))?;
    Ok(out.into_text())
}

/// The parts of a date's format.
///
/// # Errors
///
/// It is wrong, or is too long.
pub(super) fn date_items(format: &str) -> Result<Vec<Item<'_>>, String> {
    let items: Vec<Item<'_>> = StrftimeItems::new(format).collect();
    match items.contains(&Item::Error) {
        true => Err(format!("`{format}` is not a format of dates, such as %Y-%m-%d")),
        false => Ok(items),
    }
}

/// What a loop goes over: a list or map, if it has not too many elements. `uses`: how often the loop's body names an element.
fn each(state: &State<'_, '_>, list: &Value, uses: usize) -> Result<Value, Error> {
    if !matches!(list.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
        return Err(wrong(format!(
            "a loop over a value of type {}; it must be a list or a map",
            list.kind()
        )));
    }
    let elements: Vec<Value> = list.try_iter()?.take(ELEMENTS + 1).collect();
    if elements.len() > ELEMENTS {
        return Err(wrong(format!("a loop over more than {ELEMENTS} elements")));
    }
    let elements = Value::from(elements);
    work::read_list(state, &elements, uses)?;
    Ok(elements)
}

fn length(state: &State<'_, '_>, value: &Value) -> Result<usize, Error> {
    work::read(state, value.as_str().map_or(0, str::len))?;
    filters::length(value)
}

fn join(state: &State<'_, '_>, list: &Value, between: Option<Cow<'_, str>>) -> Result<String, Error> {
    work::read(state, list.len().unwrap_or_default())?;
    let mut out = Bounded::default();
    for (at, item) in list.try_iter()?.enumerate() {
        if at > 0 {
            out.push(between.as_deref().unwrap_or_default())?;
        }
        out.push(&of_defined(&item)?)?;
    }
    out.into_value(state)
}

fn replace(state: &State<'_, '_>, value: &Value, from: Cow<'_, str>, to: Cow<'_, str>) -> Result<String, Error> {
    let text = of_defined(value)?;
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
    write_json(value, &mut out)?;
    out.into_value(state)
}

/// The text percent-encoded; where values are encoded anyway, as in a URL, it is not encoded once more.
fn urlencode(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    let (text, mut out) = (of_defined(value)?, Bounded::default());
    text::percent_encoded(&text).try_for_each(|piece| out.push(piece))?;
    Ok(Value::from_safe_string(out.into_value(state)?))
}
