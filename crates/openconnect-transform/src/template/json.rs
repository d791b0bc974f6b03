//! JSON data as templates see it: a value is read where it is named, and a number is the text that was sent.

use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, OnceLock};

use minijinja::value::{DynObject, Enumerator, Object, ObjectRepr, Value};
use minijinja::{Error, ErrorKind};

use super::work::Work;
use crate::raw_json::{self, Members, Place};

/// Levels of arrays and objects in each other that a template can go down.
const DEPTH: usize = 128;
const TOO_LARGE: &str = "a number is too large to calculate with";

/// The value that a text of JSON holds. Reading it is charged to `work`.
pub(super) fn value(text: Arc<str>, work: &Arc<Work>) -> Value {
    let place = 0..text.len();
    Json::read(&text, place, 0, Numbers::Text, work)
}

/// A value to compare or calculate with: numbers in it are those of a processor.
///
/// # Errors
///
/// The number is larger than a double.
pub(super) fn calculable(value: &Value) -> Result<Value, Error> {
    if let Some(Number { text }) = value.downcast_object_ref() {
        return double(text)
            .map(Value::from)
            .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, TOO_LARGE));
    }
    Ok(value.downcast_object_ref::<Json>().map_or_else(|| value.clone(), Json::calculable))
}

/// The text, where the value is of JSON data and not a text itself.
pub(super) fn text_of(value: &Value) -> Option<&str> {
    let number = value.downcast_object_ref::<Number>().map(|number| &*number.text);
    number.or_else(|| value.downcast_object_ref::<Json>().map(Json::text))
}

/// The error of a comparison or lookup is noted, because minijinja compares what it can't read as if it were fine.
fn unreadable(what: &str, work: &Work) -> Value {
    work.fail(what);
    Value::from(Error::new(ErrorKind::InvalidOperation, what.to_owned()))
}

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Numbers {
    /// Its text.
    Text,
    /// An integer of 128 bits or a double.
    Calculable,
}

/// An array or object.
#[derive(Debug, Clone)]
struct Json {
    document: Arc<str>,
    place: Place,
    depth: usize,
    numbers: Numbers,
    members: OnceLock<Arc<Members>>,
    work: Arc<Work>,
}

impl Json {
    fn read(document: &Arc<str>, place: Place, depth: usize, numbers: Numbers, work: &Arc<Work>) -> Value {
        let text = document[place.clone()].trim();
        match text.as_bytes().first() {
            None | Some(b'n') => Value::UNDEFINED,
            Some(b't') => Value::from(true),
            Some(b'f') => Value::from(false),
            Some(b'"') => match raw_json::string(text) {
                Some(text) => Value::from(text),
                None => unreadable("a text holds half of a surrogate pair", work),
            },
            Some(b'{' | b'[') if depth >= DEPTH => unreadable(&format!("the data has more than {DEPTH} levels"), work),
            Some(b'{' | b'[') => Value::from_object(Self {
                document: Arc::clone(document),
                place,
                depth,
                numbers,
                members: OnceLock::new(),
                work: Arc::clone(work),
            }),
            Some(_) => match numbers {
                Numbers::Text => number(text),
                Numbers::Calculable => calculable_number(text, work),
            },
        }
    }

    fn text(&self) -> &str {
        self.document[self.place.clone()].trim()
    }

    /// The members, found once; finding them reads the whole text.
    fn members(&self) -> &Members {
        self.members.get_or_init(|| {
            let text = &self.document[self.place.clone()];
            let members = match self.work.read(text.len()) {
                Ok(()) => raw_json::members(text),
                Err(_) => None,
            };
            Arc::new(members.unwrap_or_else(|| Members::Array(Vec::new())))
        })
    }

    fn member(&self, place: &Place) -> Value {
        let place = self.place.start + place.start..self.place.start + place.end;
        Self::read(&self.document, place, self.depth + 1, self.numbers, &self.work)
    }

    fn calculable(&self) -> Value {
        Value::from_object(Self {
            numbers: Numbers::Calculable,
            ..self.clone()
        })
    }

    fn name(&self, name: &[u8]) -> Value {
        match std::str::from_utf8(name) {
            Ok(name) => Value::from(name),
            Err(_) => unreadable("a name holds half of a surrogate pair", &self.work),
        }
    }
}

impl Object for Json {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match self.text().starts_with('[') {
            true => ObjectRepr::Seq,
            false => ObjectRepr::Map,
        }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let place = match self.members() {
            Members::Array(items) => items.get(key.as_usize()?)?,
            Members::Object(fields) => fields.get(key.as_str()?.as_bytes())?,
        };
        Some(self.member(place))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.members() {
            Members::Array(items) => Enumerator::Seq(items.len()),
            Members::Object(fields) => Enumerator::Values(fields.keys().map(|name| self.name(name)).collect()),
        }
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(match self.members() {
            Members::Array(items) => items.len(),
            Members::Object(fields) => fields.len(),
        })
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        let other = other.downcast_ref::<Self>()?;
        (self.text() == other.text()).then_some(Ordering::Equal)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        raw_json::write_compact(self.text(), f)
    }
}

/// A number that no type shows with the digits that were sent.
#[derive(Debug)]
struct Number {
    text: Box<str>,
}

impl Object for Number {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        self.text.parse() != Ok(0.0_f64)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn number(text: &str) -> Value {
    plain_number(text).unwrap_or_else(|| Value::from_object(Number { text: text.into() }))
}

/// The number as one of a processor, if that has the same digits.
fn plain_number(text: &str) -> Option<Value> {
    if let Ok(integer) = text.parse::<i128>() {
        return (text != "-0").then(|| Value::from(integer));
    }
    let number = Value::from(double(text)?);
    (number.to_string() == text).then_some(number)
}

fn calculable_number(text: &str, work: &Work) -> Value {
    let number = plain_number(text).or_else(|| double(text).map(Value::from));
    number.unwrap_or_else(|| unreadable(TOO_LARGE, work))
}

fn double(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}
