//! The functions that programs can call beside those that jq itself defines (`defs.jq`, and jaq's own).
//!
//! Left out of jaq's library: what reaches beyond the event (`env`, `input`, `halt`, `debug`, …) and what works for longer
//! than its input is long (`jn`, `yn`). Regular expressions are here instead of there, bounded.

use std::rc::Rc;
use std::sync::OnceLock;

use jaq_core::box_iter::{BoxIter, box_once};
use jaq_core::{Bind, Cv, Exn, FilterT, Native, RunPtr, ValXs};
use jaq_std::{Filter, unary, v};

use super::meter::{self, Limit};
use super::value::{Array, Error, Kind, ValR, Value, signed};
use super::{json, regex};

/// What programs must not use, for the hint.
pub(super) const REFUSED: [&str; 12] = [
    "env",
    "$ENV",
    "halt",
    "halt_error",
    "input",
    "inputs",
    "input_filename",
    "input_line_number",
    "debug",
    "stderr",
    "jn",
    "yn",
];

/// Each function once. `enter` is what `instrument.rs` puts around the bodies of definitions.
pub(super) fn all() -> impl Iterator<Item = Filter<Native<Value>>> {
    let own = own();
    let names: Vec<&str> = own.iter().map(|(name, ..)| *name).collect();
    let theirs = jaq_std::funs().filter(move |(name, ..)| !REFUSED.contains(name) && !names.contains(name));
    let own = Vec::from(own).into_iter().map(jaq_std::run);
    let enter = Native::new(|lut, mut cv: Cv<'_, Value>| {
        meter::step();
        let (body, context) = cv.0.pop_fun();
        body.run(lut, (context, cv.1))
    })
    .with_update(|lut, mut cv, f| {
        meter::step();
        let (body, context) = cv.0.pop_fun();
        body.update(lut, (context, cv.1), f)
    });
    theirs
        .chain(own)
        .chain([(super::instrument::ENTER, Box::from([Bind::Fun(())]), enter)])
}

fn own() -> Box<[Filter<RunPtr<Value>>]> {
    Box::new([
        ("tojson", v(0), |_, cv| once(Ok(cv.1.to_string().into()))),
        ("fromjson", v(0), |_, cv| once(cv.1.text().and_then(|text| json::parse(text)))),
        ("length", v(0), |_, cv| once(length(cv.1))),
        ("keys_unsorted", v(0), |_, cv| once(keys(&cv.1))),
        ("path_values", v(0), |_, cv| {
            Box::new(inner_paths(cv.1).map(|(path, value)| Ok([path, value].into_iter().collect())))
        }),
        ("paths", v(0), |_, cv| Box::new(inner_paths(cv.1).map(|(path, _)| Ok(path)))),
        ("contains", v(1), |_, cv| {
            unary(cv, |value, other| Ok(contains(&value.kind, &other.kind).into()))
        }),
        ("has", v(1), |_, cv| unary(cv, |value, key| has(&value, &key))),
        ("indices", v(1), |_, cv| unary(cv, |value, other| indices(&value, &other))),
        ("bsearch", v(1), |_, cv| {
            unary(cv, |value, wanted| {
                let found = value.array()?.binary_search(&wanted.kind);
                let (at, sign) = found.map_or_else(|at| (at, -1), |at| (at, 1));
                Ok(if sign < 0 { -1 - signed(at) } else { signed(at) }.into())
            })
        }),
        ("matches", v(2), |_, cv| once(regex::apply(cv, regex::Wanted::Matches))),
        ("split_matches", v(2), |_, cv| once(regex::apply(cv, regex::Wanted::Both))),
        ("split_", v(2), |_, cv| once(regex::apply(cv, regex::Wanted::Between))),
        ("strftime", v(1), |lut, cv| match time_format(&cv) {
            Ok(()) => theirs("strftime").run(lut, cv),
            Err(error) => once(Err(error)),
        }),
        ("strflocaltime", v(1), |lut, cv| match time_format(&cv) {
            Ok(()) => theirs("strflocaltime").run(lut, cv),
            Err(error) => once(Err(error)),
        }),
    ])
}

fn once<'a>(result: ValR) -> ValXs<'a, Value> {
    box_once(result.map_err(Exn::from))
}

fn length(value: Value) -> ValR {
    Ok(match &value.kind {
        Kind::Null => 0.into(),
        Kind::Bool(_) => return Err(Error::typ(value, "value with a length")),
        Kind::Int(n) => n.checked_abs().map_or_else(|| Value::from((*n as f64).abs()), Value::from),
        Kind::Float(_) | Kind::Number(_) => jaq_std::ValT::as_f64(&value)?.abs().into(),
        Kind::Text(text) => {
            meter::work(text.len());
            signed(text.chars().count()).into()
        }
        Kind::Array(array) => signed(array.len()).into(),
        Kind::Object(object) => signed(object.len()).into(),
    })
}

fn keys(value: &Value) -> ValR {
    match &value.kind {
        Kind::Array(array) => Ok((0..array.len()).map(|at| Kind::Int(signed(at))).collect::<Array>().into()),
        Kind::Object(object) => Ok(object.keys().map(|name| Kind::Text(Rc::clone(name))).collect::<Array>().into()),
        _ => Err(Error::typ(value.clone(), "iterable (array or object)")),
    }
}

/// Paths to all that is in the value, with what is there.
fn inner_paths(value: Value) -> BoxIter<'static, (Value, Value)> {
    Box::new(paths(value, Array::default()).skip(1))
}

fn paths(value: Value, path: Array) -> BoxIter<'static, (Value, Value)> {
    meter::step();
    let here = (Value::from(path.clone()), value.clone());
    let children: BoxIter<'static, (Kind, Kind)> = match value.kind {
        Kind::Array(array) => Box::new((0..array.len()).map(move |at| (Kind::Int(signed(at)), array[at].clone()))),
        Kind::Object(object) => Box::new((0..object.len()).filter_map(move |at| {
            let (name, value) = object.get_index(at)?;
            Some((Kind::Text(Rc::clone(name)), value.clone()))
        })),
        _ => Box::new(std::iter::empty()),
    };
    let below = children.flat_map(move |(key, value)| {
        let mut path = path.clone();
        path.push(key);
        paths(value.into(), path)
    });
    Box::new(std::iter::once(here).chain(below))
}

fn contains(value: &Kind, other: &Kind) -> bool {
    meter::step();
    match (value, other) {
        (Kind::Text(l), Kind::Text(r)) => {
            meter::work(l.len() + r.len());
            l.contains(&***r)
        }
        (Kind::Array(l), Kind::Array(r)) => r.iter().all(|r| l.iter().any(|l| contains(l, r))),
        (Kind::Object(l), Kind::Object(r)) => r.iter().all(|(name, r)| l.get(name).is_some_and(|l| contains(l, r))),
        (l, r) => l == r,
    }
}

fn has(value: &Value, key: &Value) -> ValR {
    match (&value.kind, &key.kind) {
        (Kind::Array(array), Kind::Int(at)) => Ok(usize::try_from(*at).is_ok_and(|at| at < array.len()).into()),
        (Kind::Object(object), Kind::Text(name)) => Ok(object.get(name).is_some().into()),
        _ => Err(Error::index(value.clone(), key.clone())),
    }
}

/// Where the other is in the value, overlapping finds too.
fn indices(value: &Value, other: &Value) -> ValR {
    let found: Array = match (&value.kind, &other.kind) {
        (Kind::Text(_), Kind::Text(sought)) if sought.is_empty() => Array::default(),
        (Kind::Text(text), Kind::Text(sought)) => {
            let places = text.char_indices().enumerate();
            places
                .filter(|(_, (byte, _))| {
                    meter::step();
                    meter::work(sought.len());
                    text[*byte..].starts_with(&***sought)
                })
                .map(|(at, _)| Kind::Int(signed(at)))
                .collect()
        }
        (Kind::Array(_), Kind::Array(sought)) if sought.is_empty() => Array::default(),
        (Kind::Array(array), Kind::Array(sought)) => {
            let places = array.windows(sought.len()).enumerate();
            places
                .filter(|(_, window)| *window == &***sought)
                .map(|(at, _)| Kind::Int(signed(at)))
                .collect()
        }
        (Kind::Array(array), item) => {
            let places = array.iter().enumerate();
            places
                .filter(|(_, found)| *found == item)
                .map(|(at, _)| Kind::Int(signed(at)))
                .collect()
        }
        _ => return Err(Error::index(value.clone(), other.clone())),
    };
    Ok(found.into())
}

/// A function of jaq's library that is called from one here.
fn theirs(name: &str) -> &'static Native<Value> {
    static LIBRARY: OnceLock<Vec<(&str, Native<Value>)>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| jaq_std::extra_funs().map(|(name, _, run)| (name, run)).collect());
    match library.iter().find(|(known, _)| *known == name) {
        Some((_, run)) => run,
        None => unreachable!("{name} is a function of jaq"),
    }
}

/// chrono panics at an unknown format, and a short one can give a long text.
fn time_format(cv: &Cv<'_, Value>) -> Result<(), Error> {
    let format = cv.0.clone().pop_var();
    let text = format.text()?;
    if text.len() > 1024 {
        meter::stop(Limit::Text);
    }
    if chrono::format::StrftimeItems::new(text).any(|item| item == chrono::format::Item::Error) {
        return Err(Error::str("the format of the time is wrong"));
    }
    Ok(())
}
