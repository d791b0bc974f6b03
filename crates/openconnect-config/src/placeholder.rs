//! `${env:X}`, `${env:X:-default}` and `${file:/run/secrets/x}` inside texts; `$${` stands for `${`.

use std::collections::BTreeMap;
use std::io::Read;

/// Largest file that `${file:…}` reads.
const MAX_FILE: u64 = 64 * 1024;

/// Where the values come from.
pub(crate) type Environment = BTreeMap<String, String>;

/// The text with its placeholders replaced, or `None` when it has none. Errors name the placeholder, never a value.
pub(crate) fn resolve(text: &str, environment: &Environment) -> Result<Option<String>, String> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut replaced = false;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &from[2..];
            replaced = true;
            continue;
        }
        out.push_str(before);
        let inner = &from[2..];
        if !inner.starts_with("env:") && !inner.starts_with("file:") {
            // Not ours: jq, templates and shells have such texts too.
            out.push_str("${");
            rest = inner;
            continue;
        }
        let Some((inner, after)) = inner.split_once('}') else {
            return Err("a `${` has no closing `}`".to_owned());
        };
        out.push_str(&value(inner, environment)?);
        replaced = true;
        rest = after;
    }
    out.push_str(rest);
    Ok(replaced.then_some(out))
}

fn value(inner: &str, environment: &Environment) -> Result<String, String> {
    if let Some(path) = inner.strip_prefix("file:") {
        return read(path);
    }
    let spec = inner.strip_prefix("env:").unwrap_or(inner);
    let (name, default) = spec.split_once(":-").map_or((spec, None), |(name, default)| (name, Some(default)));
    match (
        environment.get(name).filter(|value| !value.is_empty() || default.is_none()),
        default,
    ) {
        (Some(value), _) => Ok(value.clone()),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "the environment variable {name} is not set; set it, or write `${{env:{name}:-default}}`"
        )),
    }
}

fn read(path: &str) -> Result<String, String> {
    let failed = |e: std::io::Error| format!("`${{file:{path}}}` can't be read: {e}");
    let file = std::fs::File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(format!("`${{file:{path}}}` is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("`${{file:{path}}}` is larger than {} KiB", MAX_FILE / 1024));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| format!("`${{file:{path}}}` is not UTF-8 text"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn environment() -> Environment {
        [("A", "1"), ("EMPTY", "")]
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    }

    #[test]
    fn replaces_what_is_known() {
        let resolve = |text| resolve(text, &environment()).unwrap();
        assert_eq!(resolve("x${env:A}y${env:B:-z}").as_deref(), Some("x1yz"));
        assert_eq!(resolve("${env:EMPTY:-d}").as_deref(), Some("d"));
        assert_eq!(resolve("${env:EMPTY}").as_deref(), Some(""));
        assert_eq!(resolve("$${env:A}").as_deref(), Some("${env:A}"));
        assert_eq!(resolve("${other} $x"), None);
    }

    #[test]
    fn says_what_is_missing() {
        assert!(resolve("${env:NOPE}", &environment()).unwrap_err().contains("NOPE is not set"));
        assert!(resolve("${env:NOPE", &environment()).unwrap_err().contains("closing"));
        assert!(
            resolve("${file:/does/not/exist}", &environment())
                .unwrap_err()
                .contains("/does/not/exist")
        );
        assert!(resolve("${file:/dev/zero}", &environment()).unwrap_err().contains("regular"));
    }

    #[test]
    fn a_file_loses_one_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "s3cret\r\n").unwrap();
        let text = format!("${{file:{}}}", path.display());
        assert_eq!(resolve(&text, &environment()).unwrap().as_deref(), Some("s3cret"));
    }
}
