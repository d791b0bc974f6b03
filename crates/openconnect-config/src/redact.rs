//! What may be shown of a configuration.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::place::Path;

const STARS: &str = "***";
const SECRET_WORDS: [&str; 6] = ["password", "passwd", "secret", "token", "apikey", "api_key"];

/// The configuration as written (placeholders unresolved), without what the schema calls secret and without passwords in
/// URLs.
pub(crate) fn redact(value: &Value, path: &Path, secrets: &BTreeSet<Path>) -> Value {
    let scalar = !value.is_object() && !value.is_array();
    // A list that came as one text holds its secrets inside.
    if secrets
        .iter()
        .any(|secret| path.starts_with(secret) || scalar && secret.starts_with(path))
    {
        return if value.is_null() {
            Value::Null
        } else {
            Value::String(STARS.to_owned())
        };
    }
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), redact(value, &path.key(key), secrets)))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(n, item)| redact(item, &path.index(n), secrets))
            .collect(),
        Value::String(text) => Value::String(mask(text)),
        other => other.clone(),
    }
}

/// Masks `user:password@` and `password=…` in URLs and connection strings.
pub(crate) fn mask(text: &str) -> String {
    let mut out = mask_userinfo(text);
    for word in SECRET_WORDS {
        out = mask_parameter(&out, word);
    }
    out
}

fn mask_userinfo(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // The last @: passwords with an unescaped @ exist.
    match rest[..end].rfind('@').map(|at| (rest[..at].split_once(':'), at)) {
        Some((Some((user, _)), at)) => format!("{scheme}://{user}:{STARS}{}", &rest[at..]),
        _ => text.to_owned(),
    }
}

fn mask_parameter(text: &str, word: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let needle = format!("{word}=");
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    while let Some(found) = lower[from..].find(&needle) {
        let start = from + found + needle.len();
        let end = text[start..].find(['&', ';', ' ', '"', '\'']).map_or(text.len(), |at| start + at);
        out.push_str(&text[from..start]);
        out.push_str(STARS);
        from = end;
    }
    out.push_str(&text[from..]);
    out
}

/// Takes the values of secrets out of a message that others wrote.
pub(crate) fn scrub(message: &str, secrets: &[String]) -> String {
    secrets
        .iter()
        .filter(|secret| secret.len() >= 4)
        .fold(message.to_owned(), |text, secret| text.replace(secret.as_str(), STARS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_passwords_in_urls() {
        assert_eq!(mask("postgres://u:pw@h/db"), "postgres://u:***@h/db");
        assert_eq!(mask("postgres://u:p@w@h/db"), "postgres://u:***@h/db");
        assert_eq!(
            mask("jdbc:mysql://h/db?user=a&Password=b&x=1"),
            "jdbc:mysql://h/db?user=a&Password=***&x=1"
        );
        assert_eq!(mask("http://h/a@b:c"), "http://h/a@b:c");
        assert_eq!(mask("plain"), "plain");
    }
}
