//! A row's key as text, for ids, subjects and partition keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

use crate::cell::Cell;

/// Longest text that is kept as it is, in bytes; a longer one is hashed.
const MAX_KEY_TEXT: usize = 200;

/// The values of the columns at `places`, with commas between. Different keys have different texts: commas in values are
/// escaped, and what is long or no attribute may hold is replaced by a hash. Empty without columns.
pub fn key_text(places: &[usize], cells: &[Cell]) -> String {
    let value = |at: &usize| match cells.get(*at) {
        None | Some(Cell::Null) => "null".to_owned(),
        Some(Cell::Integer(value)) => value.to_string(),
        Some(Cell::Real(value)) => value.to_string(),
        Some(Cell::Text(text)) => text.clone(),
        Some(Cell::Bytes(bytes)) => STANDARD.encode(bytes),
    };
    let text = match places {
        [at] => value(at),
        places => {
            let escaped = places.iter().map(|at| value(at).replace('\\', "\\\\").replace(',', "\\,"));
            escaped.collect::<Vec<_>>().join(",")
        }
    };
    attribute_text(text)
}

/// The text, or its hash when it is too long for an attribute, or has characters that none may have.
pub fn attribute_text(text: String) -> String {
    if text.len() <= MAX_KEY_TEXT && !text.chars().any(char::is_control) {
        return text;
    }
    let hash = digest(&SHA256, text.as_bytes());
    hex::encode(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_keys_have_different_texts() {
        let text = |texts: &[&str]| {
            let cells: Vec<Cell> = texts.iter().map(|text| Cell::Text((*text).to_owned())).collect();
            key_text(&(0..cells.len()).collect::<Vec<_>>(), &cells)
        };
        assert_eq!(text(&["a,b"]), "a,b");
        assert_eq!(text(&["a", "b"]), "a,b");
        assert_ne!(text(&["a,b", "c"]), text(&["a", "b,c"]));
        assert_ne!(text(&["a\\", "b"]), text(&["a", "\\b"]));
        let long = "x".repeat(300);
        assert_ne!(text(&[&format!("{long}1")]), text(&[&format!("{long}2")]));
        assert_ne!(text(&["a\n"]), text(&["a\t"]));
        assert_eq!(text(&[]), "");
    }
}
