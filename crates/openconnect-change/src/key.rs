//! A row's key as text, for ids, subjects and partition keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use crate::cell::{Cell, Column};
use crate::kind::Kind;

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

/// As [`key_text`], for the order of events: keys that a database may take for the same have the same text, so that what is done to one
/// row stays in order though its key is written otherwise. Different keys may have the same text.
pub fn ordering_text(columns: &[Column], places: &[usize], cells: &[Cell]) -> String {
    let is_text = |at: &usize| columns.get(*at).is_some_and(|column| column.kind == Kind::Text);
    if !places.iter().any(is_text) {
        return key_text(places, cells);
    }
    let key: Vec<Cell> = places
        .iter()
        .map(|at| match cells.get(*at) {
            Some(Cell::Text(text)) if is_text(at) => Cell::Text(folded(text)),
            cell => cell.cloned().unwrap_or(Cell::Null),
        })
        .collect();
    key_text(&(0..key.len()).collect::<Vec<_>>(), &key)
}

/// What is left of a text when all is taken away that some collation does not look at: case, marks, width, signs and spaces, vowels
/// (`ä` is `a`, `ae` or `æ`), one of two equal letters (`ß` is `s` or `ss`), and characters beyond the first plane.
fn folded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let plain = text.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase);
    for c in plain.filter(|c| c.is_alphanumeric() && u32::from(*c) <= 0xffff).filter_map(base) {
        if c.is_ascii_digit() || !out.ends_with(c) {
            out.push(c);
        }
    }
    out
}

/// The character that stands for all that a collation may take for it; none for one that may be nothing, or part of another.
fn base(c: char) -> Option<char> {
    let digit = |zero: u32| char::from_digit((u32::from(c) - zero) % 10, 10);
    Some(match c {
        'a' | 'e' | 'i' | 'o' | 'u' | 'y' | 'h' | 'æ' | 'œ' | 'ø' | 'ı' | 'ə' | 'ħ' => return None,
        'w' => 'v',
        'ß' => 's',
        'đ' | 'ð' => 'd',
        'ł' => 'l',
        'ŧ' | 'þ' => 't',
        'ŋ' => 'n',
        'ς' => 'σ',
        'ґ' => 'г',
        'ך' => 'כ',
        'ם' => 'מ',
        'ן' => 'נ',
        'ף' => 'פ',
        'ץ' => 'צ',
        '\u{660}'..='\u{669}' => digit(0x660)?,
        '\u{6f0}'..='\u{6f9}' => digit(0x6f0)?,
        '\u{966}'..='\u{96f}' => digit(0x966)?,
        // Kana: large or small, of either kind.
        '\u{3041}'..='\u{30ff}' => 'か',
        c => c,
    })
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
    fn keys_that_a_collation_takes_for_the_same_have_one_order() {
        for (one, other) in [
            ("name1", "NAME1"),
            ("Straße 5", "STRASSE5"),
            ("größe", "GROSE  "),
            ("Müller", "Mueller"),
            ("café", "cafe\u{301}"),
            ("ｗｉｄｅ", "WIDE"),
            ("Ångström", "AANGSTROM"),
            ("カタ", "かた"),
            ("Σίσυφος", "ΣΙΣΥΦΟΣ"),
            ("١٢", "12"),
        ] {
            assert_eq!(folded(one), folded(other), "{one} {other}");
        }
        for (one, other) in [("order 12", "order 122"), ("abc", "abd"), ("中", "文")] {
            assert_ne!(folded(one), folded(other), "{one} {other}");
        }
        let column = |kind| Column {
            name: String::new(),
            kind,
            type_name: String::new(),
            generated: false,
        };
        let columns = [column(Kind::Text), column(Kind::Integer)];
        let cells = [Cell::Text("Abc".into()), Cell::Integer(7)];
        assert_eq!(ordering_text(&columns, &[0, 1], &cells), "bc,7");
        assert_eq!(ordering_text(&columns, &[1], &cells), "7");
    }

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
