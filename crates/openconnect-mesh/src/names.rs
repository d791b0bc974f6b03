//! Names of topics and consumer groups, and how a topic is a folder.

use openconnect_protocol::names;

/// A topic's name must be a usable file name once it is encoded.
pub(crate) fn check_topic(name: &str) -> Result<(), String> {
    match name.trim().is_empty() {
        true => Err("invalid topic: the event has no subject".to_owned()),
        false => names::check_topic(name).map_err(|wrong| format!("invalid topic: it {wrong}")),
    }
}

/// A group's name is kept in a file and shown to people.
pub(crate) fn check_group(name: &str) -> Result<(), String> {
    names::check_group(name).map_err(|wrong| format!("invalid group: it {wrong}"))
}

/// The topic's folder: no name leads out of the folder of topics, and no two topics share one.
pub(crate) fn dir_of_topic(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' || (byte == b'.' && at > 0);
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The topic of a folder; `None` when [`dir_of_topic`] did not make its name.
pub(crate) fn topic_of_dir(dir: &str) -> Option<String> {
    let mut out = Vec::with_capacity(dir.len());
    let mut rest = dir.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let (hex, after) = after.split_at_checked(2)?;
            out.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
            rest = after;
        } else {
            out.push(*first);
            rest = after;
        }
    }
    let name = String::from_utf8(out).ok()?;
    (dir_of_topic(&name) == dir).then_some(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::{Component, Path};

    #[test]
    fn a_topic_is_one_folder_and_no_other() {
        let names = [
            "orders",
            "../../etc/passwd",
            "..",
            ".",
            "/",
            "a/b",
            "a%2Fb",
            "a b",
            "%",
            "%41",
            "A",
            "a",
            "日本語",
            "é",
            "e\u{301}",
            "a\\b",
            "-rf",
            "~",
            "$HOME",
        ];
        let mut dirs = Vec::new();
        for name in names {
            check_topic(name).unwrap();
            let dir = dir_of_topic(name);
            assert!(dir.len() <= names::MAX_TOPIC_BYTES);
            let parts: Vec<_> = Path::new(&dir).components().collect();
            assert!(matches!(parts.as_slice(), [Component::Normal(_)]), "{name}: {dir}");
            assert!(dir.is_ascii() && !dir.starts_with('.'), "{name}: {dir}");
            assert_eq!(topic_of_dir(&dir).as_deref(), Some(name));
            dirs.push(dir);
        }
        dirs.sort();
        dirs.dedup();
        assert_eq!(dirs.len(), names.len());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "x".repeat(4 << 20);
        for name in ["", "  ", "a\0b", "a\nb", "\u{9b}31m", &long, &"語".repeat(30)] {
            assert!(check_topic(name).is_err(), "{name:?}");
        }
        for name in ["", " ", "a\u{1b}[31m", &long] {
            assert!(check_group(name).is_err(), "{name:?}");
        }
        check_group("語".repeat(80).as_str()).unwrap();
    }

    #[test]
    fn a_folder_of_another_spelling_is_no_topic() {
        for dir in ["a%41", "%2e", "a b", "%zz", "%", "%+1", ".hidden", "lock~", "%FF"] {
            assert_eq!(topic_of_dir(dir), None, "{dir}");
        }
    }
}
