//! YAML to a JSON value, with the place of everything in it.
//!
//! One pass over the parser's events: bounded in depth and in size also where aliases repeat a part of the document.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value};

use crate::place::{Path, Place};

const MAX_DEPTH: usize = 64;
const MAX_VALUES: usize = 100_000;

/// A mistake in the YAML itself, with line and column.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct SyntaxError {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) message: String,
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) value: Value,
    pub(crate) places: Vec<(Path, Place)>,
    /// Keys that are there twice, with the place of the second.
    pub(crate) duplicates: Vec<(Path, (usize, usize))>,
}

/// Reads one document. An empty one is null.
pub(crate) fn parse(text: &str) -> Result<Document, SyntaxError> {
    let text = with_yaml_escapes(text);
    let mut reader = Reader::default();
    let mut documents = 0;
    for event in Parser::new_from_str(&text) {
        let (event, span) = event.map_err(|e| SyntaxError {
            line: e.marker().line(),
            column: e.marker().col() + 1,
            message: e.info().to_owned(),
        })?;
        if let Event::DocumentStart(_) = event {
            documents += 1;
            if documents > 1 {
                return Err(error(&span.start, "a second document starts here; one file has one document"));
            }
        }
        reader.event(event, &span.start)?;
    }
    Ok(reader.document)
}

/// One YAML (or JSON) document as a value.
///
/// # Errors
///
/// When it can't be read: why, with line and column.
pub fn yaml_value(text: &str) -> Result<Value, SyntaxError> {
    parse(text).map(|document| document.value)
}

/// JSON writes a character beyond the first 65,536 as a pair of surrogates, which YAML has no escape for. The columns behind such a
/// character are two less than in the file.
fn with_yaml_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains("\\u") || serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match (surrogate(rest, 0xd800), rest.get(6..).and_then(|low| surrogate(low, 0xdc00))) {
            (Some(high), Some(low)) => {
                out.push_str(&format!("\\U{:08x}", 0x1_0000 + (high << 10) + low));
                12
            }
            // Also of an escaped backslash both characters.
            _ => rest.chars().take(2).map(char::len_utf8).sum::<usize>(),
        };
        if length == 2 {
            out.push_str(&rest[..length]);
        }
        rest = &rest[length..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The bits of the surrogate that is escaped at the beginning, if it is one of those from `first` on.
fn surrogate(text: &str, first: u32) -> Option<u32> {
    let unit = u32::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()?;
    (first..first + 0x400).contains(&unit).then(|| unit - first)
}

/// A tag that changes what a value is, such as `!env NAME`, is not ignored.
fn check_tag(tag: Option<&Cow<'_, Tag>>, at: &Marker) -> Result<(), SyntaxError> {
    const CORE: [&str; 7] = ["bool", "float", "int", "map", "null", "seq", "str"];
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && CORE.contains(&tag.suffix.as_str())) => Err(error(
            at,
            format!("the tag `{tag}` means nothing here; an environment variable is \"${{env:NAME}}\""),
        )),
        _ => Ok(()),
    }
}

fn error(at: &Marker, message: impl Into<String>) -> SyntaxError {
    SyntaxError {
        line: at.line(),
        column: at.col() + 1,
        message: message.into(),
    }
}

fn position(at: &Marker) -> (usize, usize) {
    (at.line(), at.col() + 1)
}

/// A collection that is not complete yet.
enum Open {
    Map {
        map: Map<String, Value>,
        key: Option<(String, (usize, usize))>,
        anchor: usize,
    },
    List {
        items: Vec<Value>,
        anchor: usize,
    },
}

#[derive(Default)]
struct Reader {
    document: Document,
    open: Vec<Open>,
    path: Path,
    anchors: HashMap<usize, Value>,
    values: usize,
}

impl Reader {
    fn event(&mut self, event: Event<'_>, at: &Marker) -> Result<(), SyntaxError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                check_tag(tag.as_ref(), at)?;
                if self.expects_key() {
                    return self.key(text.into_owned(), at);
                }
                let as_text = style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.suffix == "str");
                let value = if as_text { Value::String(text.into_owned()) } else { plain(&text) };
                self.begin(at)?;
                self.finish(value, anchor);
            }
            Event::Alias(anchor) => {
                if self.expects_key() {
                    return Err(error(at, "an alias can't be a key"));
                }
                let Some(value) = self.anchors.get(&anchor).cloned() else {
                    return Err(error(at, "this alias is inside of what it names"));
                };
                self.values += size(&value);
                self.begin(at)?;
                self.finish(value, 0);
            }
            Event::MappingStart(anchor, ref tag) | Event::SequenceStart(anchor, ref tag) => {
                check_tag(tag.as_ref(), at)?;
                if self.expects_key() {
                    return Err(error(at, "a key must be a plain text"));
                }
                if self.open.len() >= MAX_DEPTH {
                    return Err(error(at, format!("nested more than {MAX_DEPTH} levels deep")));
                }
                self.begin(at)?;
                self.open.push(match event {
                    Event::MappingStart(..) => Open::Map {
                        map: Map::new(),
                        key: None,
                        anchor,
                    },
                    _ => Open::List { items: Vec::new(), anchor },
                });
            }
            Event::MappingEnd | Event::SequenceEnd => match self.open.pop() {
                Some(Open::Map { map, anchor, .. }) => self.finish(Value::Object(map), anchor),
                Some(Open::List { items, anchor }) => self.finish(Value::Array(items), anchor),
                None => return Err(error(at, "a collection ends that never started")),
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map { key: None, .. }))
    }

    fn key(&mut self, name: String, at: &Marker) -> Result<(), SyntaxError> {
        if name == "<<" {
            return Err(error(
                at,
                "merge keys (`<<`) are not supported; write the settings out, or use an alias as value",
            ));
        }
        let path = self.path.key(&name);
        if let Some(Open::Map { map, key, .. }) = self.open.last_mut() {
            if map.contains_key(&name) {
                self.document.duplicates.push((path, position(at)));
            }
            *key = Some((name, position(at)));
        }
        Ok(())
    }

    /// A value starts: go one step down the path and note the place.
    fn begin(&mut self, at: &Marker) -> Result<(), SyntaxError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(error(at, format!("more than {MAX_VALUES} values")));
        }
        let value = position(at);
        let key = match self.open.last() {
            Some(Open::Map {
                key: Some((name, key)), ..
            }) => {
                self.path = self.path.key(name);
                *key
            }
            Some(Open::List { items, .. }) => {
                self.path = self.path.index(items.len());
                value
            }
            _ => value,
        };
        self.document.places.push((self.path.clone(), Place::File { key, value }));
        Ok(())
    }

    /// A value is complete: put it into what is around it.
    fn finish(&mut self, value: Value, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        match self.open.last_mut() {
            Some(Open::Map { map, key, .. }) => {
                if let Some((name, _)) = key.take() {
                    map.entry(name).or_insert(value);
                }
            }
            Some(Open::List { items, .. }) => items.push(value),
            None => self.document.value = value,
        }
        self.path.0.pop();
    }
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(map) => map.values().map(size).sum(),
        _ => 0,
    }
}

/// A scalar without quotes, after YAML's core schema.
pub(crate) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let based = |prefix, radix| text.strip_prefix(prefix).and_then(|digits| u64::from_str_radix(digits, radix).ok());
    if let Some(n) = based("0x", 16).or_else(|| based("0o", 8)) {
        return n.into();
    }
    let numeric = text.bytes().any(|b| b.is_ascii_digit()) && text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    if numeric {
        if let Ok(n) = text.parse::<i64>() {
            return n.into();
        }
        if let Ok(n) = text.parse::<u64>() {
            return n.into();
        }
        if let Some(n) = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
            return Value::Number(n);
        }
    }
    Value::String(text.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_values_and_their_places() {
        let document = parse("a: 1\nb:\n  - x\n  - {c: \"2\", d: ~}\n").unwrap();
        assert_eq!(document.value, json!({"a": 1, "b": ["x", {"c": "2", "d": null}]}));
        let place = |path: &str| document.places.iter().find(|(p, _)| p.to_string() == path).unwrap().1.clone();
        assert_eq!(
            place("a"),
            Place::File {
                key: (1, 1),
                value: (1, 4)
            }
        );
        assert_eq!(
            place("b[1].c"),
            Place::File {
                key: (4, 6),
                value: (4, 9)
            }
        );
    }

    #[test]
    fn an_alias_repeats_its_anchor() {
        assert_eq!(parse("a: &x {k: 1}\nb: *x\n").unwrap().value, json!({"a": {"k": 1}, "b": {"k": 1}}));
    }

    #[test]
    fn aliases_of_aliases_are_bounded() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for n in 1..12 {
            let list = vec![format!("*a{}", n - 1); 10].join(",");
            text.push_str(&format!("a{n}: &a{n} [{list}]\n"));
        }
        assert!(parse(&text).unwrap_err().message.contains("more than"));
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(parse(&deep).unwrap_err().message.contains("nested"));
        // The parser under it has a bound of its own.
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for (text, value) in [
            ("12", json!(12)),
            ("-3", json!(-3)),
            ("1.5", json!(1.5)),
            ("0x10", json!(16)),
            ("yes", json!("yes")),
            ("1.2.3", json!("1.2.3")),
            ("2026-01-02", json!("2026-01-02")),
            ("18446744073709551615", json!(u64::MAX)),
        ] {
            assert_eq!(plain(text), value, "{text}");
        }
    }
}
