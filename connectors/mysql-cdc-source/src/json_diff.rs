//! Partial updates of JSON (`binlog_row_value_options=PARTIAL_JSON`): the log has what changed, the row before it the rest.

use mysql_async::binlog::jsondiff::{JsonDiff, JsonDiffOperation};
use serde_json::Value;

/// The document after the changes; why there is none otherwise.
pub(crate) fn apply(document: &str, diffs: &[JsonDiff<'_>]) -> Result<String, &'static str> {
    let mut document: Value = serde_json::from_str(document).map_err(|_| "its JSON before the change can't be read")?;
    for diff in diffs {
        let path = std::str::from_utf8(diff.path()).map_err(|_| NO_PATH)?;
        let value = match diff.value() {
            Some(value) => Value::try_from(value.clone()).map_err(|_| "its JSON can't be read")?,
            None => Value::Null,
        };
        change(&mut document, &steps(path)?, diff.operation(), value)?;
    }
    Ok(document.to_string())
}

const NO_PATH: &str = "a path of its partial JSON update can't be read";
const NO_PLACE: &str = "its partial JSON update does not fit to the JSON before it";

#[derive(Debug, PartialEq)]
enum Step {
    Member(String),
    Element(usize),
}

/// `$.a."b c"[1]`.
fn steps(path: &str) -> Result<Vec<Step>, &'static str> {
    let mut rest = path.strip_prefix('$').ok_or(NO_PATH)?;
    let mut steps = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (step, behind) = match first {
            '[' => {
                let (number, behind) = rest[1..].split_once(']').ok_or(NO_PATH)?;
                (Step::Element(number.trim().parse().map_err(|_| NO_PATH)?), behind)
            }
            '.' if rest[1..].starts_with('"') => {
                // A JSON text: its end is where its reader stops.
                let mut texts = serde_json::Deserializer::from_str(&rest[1..]).into_iter::<String>();
                let name = texts.next().and_then(Result::ok).ok_or(NO_PATH)?;
                (Step::Member(name), rest.get(1 + texts.byte_offset()..).ok_or(NO_PATH)?)
            }
            '.' => {
                let name = &rest[1..];
                let end = name.find(['.', '[']).unwrap_or(name.len());
                (Step::Member(name[..end].to_owned()), &name[end..])
            }
            _ => return Err(NO_PATH),
        };
        steps.push(step);
        rest = behind;
    }
    Ok(steps)
}

fn change(document: &mut Value, steps: &[Step], operation: JsonDiffOperation, value: Value) -> Result<(), &'static str> {
    let Some((last, way)) = steps.split_last() else {
        *document = value;
        return Ok(());
    };
    let mut at = document;
    for step in way {
        at = match step {
            Step::Member(name) => at.get_mut(name),
            Step::Element(number) => at.get_mut(number),
        }
        .ok_or(NO_PLACE)?;
    }
    match (last, at, operation) {
        (Step::Member(name), Value::Object(members), JsonDiffOperation::REMOVE) => members.remove(name).map(drop).ok_or(NO_PLACE),
        (Step::Member(name), Value::Object(members), _) => {
            members.insert(name.clone(), value);
            Ok(())
        }
        (Step::Element(number), Value::Array(elements), JsonDiffOperation::INSERT) => {
            elements.insert((*number).min(elements.len()), value);
            Ok(())
        }
        (Step::Element(number), Value::Array(elements), JsonDiffOperation::REMOVE) if *number < elements.len() => {
            elements.remove(*number);
            Ok(())
        }
        (Step::Element(number), Value::Array(elements), JsonDiffOperation::REPLACE) => {
            *elements.get_mut(*number).ok_or(NO_PLACE)? = value;
            Ok(())
        }
        _ => Err(NO_PLACE),
    }
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
}
