//! Events that nobody expects: attributes at their limits, data of every kind. They follow from a random number generator.
//!
//! Each event is a plain one with one or two things changed: an event in which everything is odd would be refused for the first of
//! them, and show nothing of the others.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// The extension that tells which event this is, whatever became of its other attributes.
pub const NUMBER: &str = "number";

/// An event as a client sends it, and what must arrive when it is taken.
#[derive(Debug, Clone)]
pub struct Hostile {
    /// Its number: the value of the extension [`NUMBER`].
    pub number: u64,
    /// What was changed, for people. Nothing: the event must be taken.
    pub changes: Vec<String>,
    /// The request's headers.
    pub headers: Vec<(String, String)>,
    /// The request's body.
    pub body: Vec<u8>,
    /// The attributes that must arrive, as text.
    pub attributes: BTreeMap<String, String>,
    /// The data that must arrive.
    pub data: Content,
}

/// An event's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// None.
    Absent,
    /// JSON: the same tokens must arrive, numbers by their text.
    Json(String),
    /// Text: the same characters must arrive.
    Text(String),
    /// The same bytes must arrive.
    Bytes(Vec<u8>),
}

/// How the event is put into a request.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Structured,
    Binary,
}

/// Texts that are taken for something else, or cut, or folded, by who is not careful.
fn text(rng: &mut StdRng) -> String {
    const TEXTS: &[&str] = &[
        "",
        " ",
        " leading and trailing ",
        "grüße",
        "gru\u{308}ße",
        "GRÜSSE",
        "\u{212a}elvin",
        "\u{130}stanbul",
        "🦀\u{1f468}\u{200d}\u{1f469}",
        "\u{202e}gnp.exe",
        "\u{feff}mark",
        "\u{fffe}",
        "\u{10ffff}",
        "a\u{0}b",
        "a\u{1b}[31mred",
        "a\r\nx-injected: 1",
        "a\tb\u{7f}\u{85}\u{2028}c",
        "' or 1=1 --",
        "\"; drop table events; --",
        "../../etc/passwd",
        "%00%2e%2e%2f",
        "a?b#c&d=e",
        "{{ 1 + 1 }}",
        "${HOME}",
        "\\u0000\\n",
        "null",
        "1e400",
    ];
    match rng.random_range(0..12) {
        0 => "x".repeat(1024),
        1 => "ü".repeat(32 << 10),
        _ => TEXTS.choose(rng).copied().unwrap_or_default().to_owned(),
    }
}

fn time(rng: &mut StdRng) -> &'static str {
    const TIMES: &[&str] = &[
        "2024-02-29T23:59:60Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
        "2024-01-01T00:00:00+14:00",
        "2024-01-01T00:00:00.5-00:00",
        "2024-01-01t00:00:00z",
        "2024-01-01 00:00:00Z",
        "2024-01-01T00:00:00.123456789123Z",
        "2024-13-01T00:00:00Z",
        "yesterday",
        "",
    ];
    TIMES.choose(rng).copied().unwrap_or_default()
}

fn schema(rng: &mut StdRng) -> String {
    const SCHEMAS: &[&str] = &[
        "urn:acme:schema",
        "http://example.com",
        "HTTP://Example.COM:80/a/../b?x=%2f#y",
        "http://[::1]/",
        "a:",
        "//no-scheme",
        "http://exa mple.com/",
        " http://example.com/",
        "http://grün.example/",
    ];
    match rng.random_bool(0.5) {
        true => text(rng),
        false => SCHEMAS.choose(rng).copied().unwrap_or_default().to_owned(),
    }
}

/// Values of an extension that are no texts in JSON.
fn token(rng: &mut StdRng) -> &'static str {
    const TOKENS: &[&str] = &[
        "2147483647",
        "-2147483648",
        "2147483648",
        "9007199254740993",
        "18446744073709551616",
        "1.5",
        "1e2",
        "true",
        "false",
        "[1]",
        "{\"a\":1}",
    ];
    TOKENS.choose(rng).copied().unwrap_or_default()
}

fn extension(rng: &mut StdRng) -> String {
    const NAMES: &[&str] = &[
        "partitionkey",
        "sequence",
        "traceparent",
        "ttl",
        "url",
        "ocsubject",
        "ocxttl",
        "1st",
        "Upper",
        "with-dash",
    ];
    match rng.random_range(0..12) {
        0 => "e".repeat(64),
        1 => "e".repeat(65),
        _ => NAMES.choose(rng).copied().unwrap_or_default().to_owned(),
    }
}

/// JSON texts that are changed by who parses and writes them.
fn json(rng: &mut StdRng) -> String {
    const TEXTS: &[&str] = &[
        "18446744073709551616",
        "-9223372036854775809",
        "1e400",
        "-1e-400",
        "0.1234567890123456789012345678901234567890",
        "1.0",
        "-0",
        "-0.0",
        "1E+2",
        "\"\\ud800\"",
        "{\"\\udc00\": \"\\ud83d\"}",
        "\"\\u0000\"",
        "\"a\\u0000b\\/\\u00fc\"",
        "\"\u{2028}\u{202e}\"",
        "{\"a\":1,\"a\":2}",
        "{\"a\":{\"b\":1,\"b\":2},\"a\":null}",
        " \r\n\t{\"a\": 1}\n ",
        "{\n  \"a\": [\n    1,\n    2\n  ]\n}",
        "\"\"",
        "null",
        "true",
        "[]",
        "{}",
        "{\"\":1}",
        "{\"grüße\":1,\"gru\u{308}ße\":2,\"Grüße\":3}",
        "{\"data\":1,\"specversion\":\"9.9\",\"id\":null}",
        "\"{{ 1 + 1 }}\"",
    ];
    match rng.random_range(0..14) {
        0 => nested(rng, "[", "1", "]"),
        1 => nested(rng, "{\"a\":", "1", "}"),
        2 => format!("\"{}\"", "x".repeat(3 << 20)),
        3 => format!("[{}0]", "0 ,\n ".repeat(100_000)),
        _ => TEXTS.choose(rng).copied().unwrap_or_default().to_owned(),
    }
}

fn nested(rng: &mut StdRng, open: &str, inner: &str, close: &str) -> String {
    let levels = [100, 126, 127, 128, 129, 200].choose(rng).copied().unwrap_or(200);
    format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
}

fn bytes(rng: &mut StdRng) -> Vec<u8> {
    match rng.random_range(0..4) {
        0 => Vec::new(),
        1 => b"\x00\x01\xff\xfe\r\n\x1b".to_vec(),
        2 => "\u{feff}plain text".as_bytes().to_vec(),
        _ => (0..rng.random_range(1..100_000)).map(|_| rng.random::<u8>()).collect(),
    }
}

/// The data, and its content type.
fn data(rng: &mut StdRng, mode: Mode) -> (Content, Option<&'static str>) {
    const JSON: &[Option<&str>] = &[
        Some("application/json"),
        Some("application/json; charset=utf-8"),
        Some("application/vnd.acme+json"),
        Some("Application/JSON"),
        None,
    ];
    match rng.random_range(0..10) {
        0 => (Content::Absent, None),
        1 | 2 => (
            Content::Text(text(rng)),
            ["text/plain", "text/plain; charset=utf-8", "application/xml"].choose(rng).copied(),
        ),
        3 | 4 => {
            let types = ["application/octet-stream", "image/png", "application/x-www-form-urlencoded"];
            (Content::Bytes(bytes(rng)), types.choose(rng).copied())
        }
        // Text in another character set is bytes to everyone on the way.
        5 if mode == Mode::Binary => (Content::Bytes(b"gr\xfc\xdfe".to_vec()), Some("text/plain; charset=iso-8859-1")),
        _ => {
            let content_type = JSON.choose(rng).copied().flatten();
            // Without a content type a body is bytes.
            let content_type = content_type.or((mode == Mode::Binary).then_some("application/json"));
            (Content::Json(json(rng)), content_type)
        }
    }
}

impl Hostile {
    /// The event of this number.
    pub fn random(rng: &mut StdRng, number: u64) -> Self {
        let mode = if rng.random_bool(0.5) { Mode::Structured } else { Mode::Binary };
        let mut attributes: BTreeMap<String, String> = [
            ("specversion", "1.0".to_owned()),
            ("id", format!("event-{number}")),
            ("source", "/hostile".to_owned()),
            ("type", "acme.event".to_owned()),
            (NUMBER, number.to_string()),
            ("partitionkey", format!("k{}", number % 4)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let (mut content, mut content_type) = (Content::Json(format!("{{\"n\":{number}}}")), Some("application/json"));
        let (mut changes, mut unquoted) = (Vec::new(), None);
        for _ in 0..rng.random_range(0..=2) {
            let (name, value) = match rng.random_range(0..11) {
                0 => ("id".to_owned(), text(rng)),
                1 => ("source".to_owned(), text(rng)),
                2 => ("type".to_owned(), text(rng)),
                3 => ("subject".to_owned(), text(rng)),
                4 => ("dataschema".to_owned(), schema(rng)),
                5 => ("time".to_owned(), time(rng).to_owned()),
                6 => (extension(rng), text(rng)),
                7 => {
                    unquoted = Some("level");
                    ("level".to_owned(), token(rng).to_owned())
                }
                _ => {
                    (content, content_type) = data(rng, mode);
                    changes.push(format!("data {} as {content_type:?}", content.short()));
                    continue;
                }
            };
            changes.push(format!("{name} {}", short(&value)));
            attributes.insert(name, value);
        }
        if let Some(content_type) = content_type {
            attributes.insert("datacontenttype".to_owned(), content_type.to_owned());
        }
        let (headers, body) = match mode {
            Mode::Structured => structured(&attributes, unquoted, &content),
            Mode::Binary => binary(&attributes, &content),
        };
        changes.iter_mut().for_each(|change| {
            change.push_str(if mode == Mode::Binary { ", binary" } else { ", structured" });
        });
        Self {
            number,
            changes,
            headers,
            body,
            attributes,
            data: content,
        }
    }
}

impl Content {
    /// The kind and the beginning, for people.
    pub fn short(&self) -> String {
        match self {
            Self::Absent => "absent".to_owned(),
            Self::Json(text) => format!("JSON {}", short(text)),
            Self::Text(text) => format!("text {}", short(text)),
            Self::Bytes(bytes) => format!("{} bytes {:02x?}", bytes.len(), &bytes[..bytes.len().min(8)]),
        }
    }
}

/// The beginning of a text, and how long it is.
pub fn short(text: &str) -> String {
    let beginning: String = text.chars().take(40).collect();
    if beginning.len() == text.len() {
        format!("{text:?}")
    } else {
        format!("{beginning:?} … ({} bytes)", text.len())
    }
}

fn structured(attributes: &BTreeMap<String, String>, unquoted: Option<&str>, content: &Content) -> (Vec<(String, String)>, Vec<u8>) {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut members: Vec<String> = attributes
        .iter()
        .map(|(name, value)| match unquoted {
            Some(token) if token == name => format!("{}:{value}", quoted(name)),
            _ => format!("{}:{}", quoted(name), quoted(value)),
        })
        .collect();
    match content {
        Content::Absent => {}
        Content::Json(text) => members.push(format!("\"data\":{text}")),
        Content::Text(text) => members.push(format!("\"data\":{}", quoted(text))),
        Content::Bytes(bytes) => members.push(format!("\"data_base64\":\"{}\"", STANDARD.encode(bytes))),
    }
    let headers = vec![("content-type".to_owned(), "application/cloudevents+json".to_owned())];
    (headers, format!("{{{}}}", members.join(",")).into_bytes())
}

fn binary(attributes: &BTreeMap<String, String>, content: &Content) -> (Vec<(String, String)>, Vec<u8>) {
    let header = |(name, value): (&String, &String)| match name.as_str() {
        "datacontenttype" => ("content-type".to_owned(), value.clone()),
        _ => (format!("ce-{name}"), percent(value)),
    };
    let body = match content {
        Content::Absent => Vec::new(),
        Content::Json(text) | Content::Text(text) => text.clone().into_bytes(),
        Content::Bytes(bytes) => bytes.clone(),
    };
    (attributes.iter().map(header).collect(), body)
}

/// As CloudEvents' HTTP binding writes a value into a header.
fn percent(value: &str) -> String {
    let escaped = |byte: u8| match byte {
        b'"' | b'%' | 0..=0x20 | 0x7f.. => format!("%{byte:02X}"),
        _ => char::from(byte).to_string(),
    };
    value.bytes().map(escaped).collect()
}

/// What such a header says.
pub fn unpercent(value: &[u8]) -> String {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, others @ ..] = rest {
        let code = others
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(code.unwrap_or(*first));
        rest = if code.is_some() { &others[2..] } else { others };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// JSON without the white space between its tokens: what must be the same on both ends.
pub fn tokens(text: &str) -> String {
    let (mut out, mut in_string, mut escaped) = (String::with_capacity(text.len()), false, false);
    for c in text.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if matches!(c, ' ' | '\t' | '\r' | '\n') {
            continue;
        } else {
            in_string = c == '"';
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn only_the_space_between_tokens_goes() {
        assert_eq!(tokens(" { \"a b\\\" c\" : [ 1 , \"\\\\\" ] } "), "{\"a b\\\" c\":[1,\"\\\\\"]}");
    }

    #[test]
    fn a_seed_gives_the_same_events() {
        let events = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            (0..50).map(|number| Hostile::random(&mut rng, number).body).collect::<Vec<_>>()
        };
        assert_eq!(events(7), events(7));
        assert_ne!(events(7), events(8));
    }

    #[test]
    fn headers_say_what_was_meant() {
        for text in ["", "a%b", "grüße\r\n\"", "%41"] {
            assert_eq!(unpercent(percent(text).as_bytes()), text);
        }
    }
}
