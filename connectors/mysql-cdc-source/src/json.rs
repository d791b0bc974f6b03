//! JSON of the log: documents in MySQL's own form, and partial updates (`binlog_row_value_options=PARTIAL_JSON`), for which the log
//! has what changed, and the row before it the rest. Numbers keep their digits.

use std::collections::BTreeMap;

use mysql_async::binlog::jsonb::{self, JsonContainer, JsonDom, JsonNumber, JsonScalar};
use mysql_async::binlog::jsondiff::{JsonDiff, JsonDiffOperation};
use openconnect_change::json_text;
use serde_json::value::RawValue;

const UNREADABLE: &str = "its JSON can't be read";
const NO_PATH: &str = "a path of its partial JSON update can't be read";
const NO_PLACE: &str = "its partial JSON update does not fit to the JSON before it";

/// A document's text, as the server writes it but for spaces and the order of members.
pub(crate) fn text(document: jsonb::Value<'_>) -> Result<String, &'static str> {
    let document = document.parse().map_err(|_| UNREADABLE)?;
    Ok(Json::from(document).to_text())
}

/// The document after the changes; why there is none otherwise.
pub(crate) fn apply(document: &str, diffs: &[JsonDiff<'_>]) -> Result<String, &'static str> {
    let mut document = Json::read(document).ok_or("its JSON before the change can't be read")?;
    for diff in diffs {
        let path = std::str::from_utf8(diff.path()).map_err(|_| NO_PATH)?;
        let value = match diff.value() {
            Some(value) => value.clone().parse().map_err(|_| UNREADABLE)?.into(),
            None => Json::Scalar("null".to_owned()),
        };
        document.change(&steps(path)?, diff.operation(), value)?;
    }
    Ok(document.to_text())
}

/// A document whose scalars are texts already.
#[derive(Debug)]
enum Json {
    Object(BTreeMap<String, Json>),
    Array(Vec<Json>),
    Scalar(String),
}

impl Json {
    fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        Some(match text.bytes().next()? {
            b'{' => {
                let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
                let member = |(name, value): (String, &RawValue)| Some((name, Self::read(value.get())?));
                Self::Object(members.into_iter().map(member).collect::<Option<_>>()?)
            }
            b'[' => {
                let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                Self::Array(elements.into_iter().map(|value| Self::read(value.get())).collect::<Option<_>>()?)
            }
            _ => Self::Scalar(text.to_owned()),
        })
    }

    fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Scalar(text) => out.push_str(text),
            Self::Array(elements) => {
                let mut lead = '[';
                for element in elements {
                    out.push(lead);
                    element.write(out);
                    lead = ',';
                }
                out.push_str(if elements.is_empty() { "[]" } else { "]" });
            }
            Self::Object(members) => {
                let mut lead = '{';
                for (name, value) in members {
                    out.push(lead);
                    out.push_str(&json_text(name));
                    out.push(':');
                    value.write(out);
                    lead = ',';
                }
                out.push_str(if members.is_empty() { "{}" } else { "}" });
            }
        }
    }

    fn change(&mut self, steps: &[Step], operation: JsonDiffOperation, value: Self) -> Result<(), &'static str> {
        let Some((last, way)) = steps.split_last() else {
            *self = value;
            return Ok(());
        };
        let mut at = self;
        for step in way {
            at = match (step, at) {
                (Step::Member(name), Self::Object(members)) => members.get_mut(name),
                (Step::Element(number), Self::Array(elements)) => elements.get_mut(*number),
                _ => None,
            }
            .ok_or(NO_PLACE)?;
        }
        match (last, at, operation) {
            (Step::Member(name), Self::Object(members), JsonDiffOperation::REMOVE) => members.remove(name).map(drop).ok_or(NO_PLACE),
            (Step::Member(name), Self::Object(members), _) => {
                members.insert(name.clone(), value);
                Ok(())
            }
            (Step::Element(number), Self::Array(elements), JsonDiffOperation::INSERT) => {
                elements.insert((*number).min(elements.len()), value);
                Ok(())
            }
            (Step::Element(number), Self::Array(elements), JsonDiffOperation::REMOVE) if *number < elements.len() => {
                elements.remove(*number);
                Ok(())
            }
            (Step::Element(number), Self::Array(elements), JsonDiffOperation::REPLACE) => {
                *elements.get_mut(*number).ok_or(NO_PLACE)? = value;
                Ok(())
            }
            _ => Err(NO_PLACE),
        }
    }
}

impl From<JsonDom> for Json {
    fn from(document: JsonDom) -> Self {
        match document {
            JsonDom::Container(JsonContainer::Object(members)) => {
                Self::Object(members.into_iter().map(|(name, value)| (name, value.into())).collect())
            }
            JsonDom::Container(JsonContainer::Array(elements)) => Self::Array(elements.into_iter().map(Self::from).collect()),
            JsonDom::Scalar(scalar) => Self::Scalar(scalar_text(scalar)),
        }
    }
}

fn scalar_text(scalar: JsonScalar) -> String {
    match scalar {
        JsonScalar::Null => "null".to_owned(),
        JsonScalar::Boolean(value) => value.to_string(),
        JsonScalar::Number(JsonNumber::Decimal(value)) => value.to_string(),
        JsonScalar::Number(JsonNumber::Int(value)) => value.to_string(),
        JsonScalar::Number(JsonNumber::Uint(value)) => value.to_string(),
        JsonScalar::Number(JsonNumber::Double(value)) => {
            serde_json::Number::from_f64(value).map_or_else(|| "null".to_owned(), |number| number.to_string())
        }
        JsonScalar::DateTime(value) => json_text(&format!("{value:.6}")),
        JsonScalar::Opaque(value) => json_text(&value.to_string()),
        JsonScalar::String(value) => json_text(&value),
    }
}

#[derive(Debug, PartialEq)]
enum Step {
    Member(String),
    Element(usize),
}

/// `$.a."b c"[1]`.
fn steps(path: &str) -> Result<Vec<Step>, &'static str> {
    let mut rest = path.strip_prefix('$').ok_or(NO_PATH)?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, behind) = if let Some(inside) = rest.strip_prefix('[') {
            let (number, behind) = inside.split_once(']').ok_or(NO_PATH)?;
            (Step::Element(number.trim().parse().map_err(|_| NO_PATH)?), behind)
        } else {
            let name = rest.strip_prefix('.').ok_or(NO_PATH)?;
            if name.starts_with('"') {
                // A JSON text: its end is where its reader stops.
                let mut texts = serde_json::Deserializer::from_str(name).into_iter::<String>();
                let text = texts.next().and_then(Result::ok).ok_or(NO_PATH)?;
                (Step::Member(text), name.get(texts.byte_offset()..).ok_or(NO_PATH)?)
            } else {
                let (name, behind) = name.split_at(name.find(['.', '[']).unwrap_or(name.len()));
                (Step::Member(name.to_owned()), behind)
            }
        };
        steps.push(step);
        rest = behind;
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_are_read() {
        let member = |name: &str| Step::Member(name.to_owned());
        assert_eq!(steps("$").unwrap(), []);
        assert_eq!(
            steps("$.a.\"b \\\"c.\"[12].d").unwrap(),
            [member("a"), member("b \"c."), Step::Element(12), member("d")]
        );
        assert!(steps("a").is_err() && steps("$[x]").is_err() && steps("$.\"a").is_err());
    }

    #[test]
    fn documents_keep_their_digits() {
        let text = r#"{"a":[1.50,12345678901234567890123.4567890123456789,{}],"b":[]}"#;
        assert_eq!(Json::read(text).unwrap().to_text(), text);
    }
}
