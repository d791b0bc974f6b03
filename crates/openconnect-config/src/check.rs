//! Holds a configuration against its schema and collects every mistake.
//!
//! What is wrong is taken out of the value while going, so that the rest can still be checked by its own types.

use std::collections::BTreeSet;

use openconnect_error::Code;
use openconnect_schema::Node;
use serde_json::{Map, Value};

use crate::codes;
use crate::place::{Path, Places, Spot};
use crate::problem::Problem;
use crate::yaml;

/// The walk over one configuration.
pub(crate) struct Checker<'a> {
    root: &'a Value,
    places: &'a Places,
    /// Paths of mistakes, to keep later stages from reporting a consequence.
    pub(crate) bad: BTreeSet<Path>,
    pub(crate) problems: Vec<Problem>,
    /// Values that the schema calls secret.
    pub(crate) secrets: BTreeSet<Path>,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(root: &'a Value, places: &'a Places) -> Self {
        Self {
            root,
            places,
            bad: BTreeSet::new(),
            problems: Vec::new(),
            secrets: BTreeSet::new(),
        }
    }

    /// Reports a mistake.
    pub(crate) fn report(&mut self, code: Code, path: &Path, spot: Spot, message: impl Into<String>) {
        let place = self.places.describe(path, spot);
        self.problems.push(Problem {
            code,
            path: path.to_string(),
            place,
            message: message.into(),
        });
        self.bad.insert(path.clone());
    }

    /// Is the value, or anything around it, not to be shown?
    pub(crate) fn is_hidden(&self, path: &Path) -> bool {
        self.secrets
            .iter()
            .chain(&self.places.hidden)
            .any(|hidden| path.starts_with(hidden) || hidden.starts_with(path))
    }

    /// Reports the placeholders that can't be replaced, and takes them out.
    pub(crate) fn leave_out(&mut self, unresolved: Vec<(Path, String)>, value: &mut Value) {
        for (path, message) in unresolved {
            self.report(codes::PLACEHOLDER_UNRESOLVED, &path, Spot::Value, message);
            path.remove(value);
        }
    }

    /// Checks the whole configuration.
    pub(crate) fn check_all(&mut self, value: &mut Value) {
        self.check(value, &Node::root(self.root), &Path::default());
    }

    /// Checks `value`; `false` when it can't be used.
    fn check(&mut self, value: &mut Value, node: &Node<'a>, path: &Path) -> bool {
        if node.is_secret() {
            self.secrets.insert(path.clone());
        }
        for part in node.parts() {
            if !self.check(value, &part, path) {
                return false;
            }
        }
        if value.is_null() && node.accepts_null() {
            return true;
        }
        let variants = node.variants();
        if !variants.is_empty() && !self.check_variants(value, &variants, path) {
            return false;
        }
        self.check_one(value, node, path)
    }

    fn check_one(&mut self, value: &mut Value, node: &Node<'a>, path: &Path) -> bool {
        let named = node.types();
        if !named.is_empty() && !fits(value, &named) {
            let read = self.places.untyped.contains(path).then(|| read_as(value, &named)).flatten();
            match read {
                Some(read) => *value = read,
                None => return self.wrong_type(value, &named, path),
            }
        }
        let constants = node.constants();
        if !constants.is_empty() && !constants.contains(&&*value) {
            return self.not_one_of(value, &constants, path);
        }
        match value {
            Value::String(_) | Value::Number(_) => self.check_scalar(value, node, path),
            Value::Object(map) => self.check_object(map, node, path),
            Value::Array(items) => {
                let mut all = true;
                if let Some(of) = node.items() {
                    for (n, item) in items.iter_mut().enumerate() {
                        all &= self.check(item, &of, &path.index(n));
                    }
                }
                all
            }
            Value::Null | Value::Bool(_) => true,
        }
    }

    fn check_scalar(&mut self, value: &Value, node: &Node<'_>, path: &Path) -> bool {
        let format = node.text("format").unwrap_or_default();
        let wrong = match (value, format) {
            (Value::String(text), "human-duration") if humantime::parse_duration(text).is_err() => {
                Some("is not a duration; write for instance 500ms, 10s or 2m".to_owned())
            }
            (Value::String(text), "byte-size") if crate::bytes_size::ByteSize::parse(text).is_none() => {
                Some("is not a size; write for instance 512KiB or 10MiB".to_owned())
            }
            (Value::String(text), "password") if crate::secret::is_blank(text) => {
                self.report(codes::VALUE_REFUSED, path, Spot::Value, crate::secret::EMPTY);
                return false;
            }
            (Value::Number(number), _) => out_of_bounds(number, node, format),
            _ => None,
        };
        let Some(wrong) = wrong else { return true };
        let shown = self.shown(value, path);
        self.report(codes::VALUE_REFUSED, path, Spot::Value, format!("{shown} {wrong}"));
        false
    }

    fn check_object(&mut self, map: &mut Map<String, Value>, node: &Node<'a>, path: &Path) -> bool {
        let (properties, values, closed) = (node.properties(), node.values(), node.is_closed());
        let keys: Vec<String> = map.keys().cloned().collect();
        let mut meant = Vec::new();
        for key in keys {
            let below = path.key(&key);
            let Some(known) = properties.get(key.as_str()).or(values.as_ref()) else {
                if closed {
                    map.remove(&key);
                    let names = properties.keys().copied();
                    meant.extend(nearest(&key, names.clone()));
                    self.report(codes::UNKNOWN_KEY, &below, Spot::Key, unknown(&key, names));
                }
                continue;
            };
            let Some(value) = map.get_mut(&key) else {
                continue;
            };
            if value.is_null() && !known.accepts_null() {
                map.remove(&key);
                // A section whose lines are all comments is as good as absent.
                continue;
            }
            if !self.check(value, known, &below) {
                map.remove(&key);
            }
        }
        for key in node.required() {
            if meant.contains(&key) {
                // Misspelt, and reported as that.
                self.bad.insert(path.key(key));
            }
            self.require(map, key, properties.get(key), path);
        }
        true
    }

    /// Reports a missing key, and puts something in its place for the stages that follow.
    fn require(&mut self, map: &mut Map<String, Value>, key: &str, node: Option<&Node<'a>>, path: &Path) {
        if map.contains_key(key) {
            return;
        }
        let below = path.key(key);
        let Some(node) = node else { return };
        if !self.bad.contains(&below) {
            if node.is_section() {
                // Name the missing keys inside rather than the section.
                let mut section = Value::Object(Map::new());
                self.check(&mut section, node, &below);
                map.insert(key.to_owned(), section);
                return;
            }
            let text = node.text("description");
            let what = text
                .and_then(|text| text.split_terminator(&['\n', '.'][..]).next())
                .unwrap_or_default();
            let message = if what.is_empty() {
                "is required and missing".to_owned()
            } else {
                format!("is required and missing: {what}")
            };
            self.report(codes::SETTING_MISSING, &below, Spot::Key, message);
        }
        let named = node.types();
        if named.contains(&"string") {
            map.insert(key.to_owned(), Value::String("x".to_owned()));
        } else if named.contains(&"integer") {
            map.insert(key.to_owned(), Value::from(1));
        } else if named.contains(&"array") {
            map.insert(key.to_owned(), Value::Array(Vec::new()));
        }
    }

    /// A value that may take one of several shapes.
    fn check_variants(&mut self, value: &mut Value, variants: &[Node<'a>], path: &Path) -> bool {
        if let (Value::String(text), true) = (&*value, self.places.untyped.contains(path)) {
            let structure = text.trim_start().starts_with(['{', '[']);
            if structure && let Some(read) = read_as(value, &["object", "array"]) {
                *value = read;
            }
        }
        let names: Vec<&Value> = variants.iter().flat_map(Node::constants).collect();
        if value.is_string() && !names.is_empty() {
            return names.contains(&&*value) || self.not_one_of(value, &names, path);
        }
        if let Value::Object(map) = value {
            if let Some(tag) = tag_of(variants) {
                return self.check_tagged(value, variants, tag, path);
            }
            let keys: Vec<&str> = variants.iter().filter_map(only_key).collect();
            if !keys.is_empty() {
                let given = |variant: &&Node<'_>| only_key(variant).is_some_and(|key| map.contains_key(key));
                if let Some(variant) = variants.iter().find(given) {
                    return self.check(value, variant, path);
                }
                match map.keys().next().cloned() {
                    Some(key) => self.report(codes::UNKNOWN_KEY, &path.key(&key), Spot::Key, unknown(&key, keys.into_iter())),
                    None => self.report(
                        codes::SETTING_MISSING,
                        path,
                        Spot::Value,
                        format!("needs one of {}", quoted(keys.into_iter())),
                    ),
                }
                return false;
            }
        }
        self.check_any(value, variants, path)
    }

    /// Variants told apart by the value of one key.
    fn check_tagged(&mut self, value: &mut Value, variants: &[Node<'a>], tag: &str, path: &Path) -> bool {
        let names: Vec<&Value> = variants.iter().filter_map(|variant| variant.property(tag)?.get("const")).collect();
        let below = path.key(tag);
        let Some(given) = value.get(tag) else {
            let names = quoted(names.iter().filter_map(|name| name.as_str()));
            self.report(
                codes::SETTING_MISSING,
                &below,
                Spot::Key,
                format!("is required and missing; one of {names}"),
            );
            return false;
        };
        match names.iter().position(|name| *name == given) {
            Some(at) => self.check(value, &variants[at], path),
            None => {
                let given = given.clone();
                self.not_one_of(&given, &names, &below)
            }
        }
    }

    /// Variants that nothing tells apart: the one with the fewest mistakes counts.
    fn check_any(&mut self, value: &mut Value, variants: &[Node<'a>], path: &Path) -> bool {
        let mut best: Option<(bool, Value, Checker<'a>)> = None;
        for variant in variants {
            let mut trial = Checker::new(self.root, self.places);
            let mut copy = value.clone();
            let usable = trial.check(&mut copy, variant, path);
            if best
                .as_ref()
                .is_none_or(|(_, _, known)| trial.problems.len() < known.problems.len())
            {
                best = Some((usable, copy, trial));
            }
        }
        let Some((usable, copy, trial)) = best else {
            return true;
        };
        *value = copy;
        self.problems.extend(trial.problems);
        self.bad.extend(trial.bad);
        self.secrets.extend(trial.secrets);
        usable
    }

    fn wrong_type(&mut self, value: &Value, named: &[&str], path: &Path) -> bool {
        let expected: Vec<&str> = named.iter().filter(|name| **name != "null").map(|name| type_name(name)).collect();
        let mut message = format!("expected {}, found {}", expected.join(" or "), kind(value));
        if named.contains(&"string") && (value.is_number() || value.is_boolean()) {
            message.push_str("; put it in quotes");
        }
        self.report(codes::WRONG_TYPE, path, Spot::Value, message);
        false
    }

    fn not_one_of(&mut self, value: &Value, names: &[&Value], path: &Path) -> bool {
        let texts: Vec<&str> = names.iter().filter_map(|name| name.as_str()).collect();
        let near = value.as_str().and_then(|text| nearest(text, texts.iter().copied()));
        let shown = self.shown(value, path);
        let all = if texts.is_empty() {
            names.iter().map(|n| n.to_string()).collect::<Vec<_>>().join(", ")
        } else {
            quoted(texts.iter().copied())
        };
        let message = match near {
            Some(near) => format!("{shown} is not known here; did you mean `{near}`? One of {all}"),
            None => format!("{shown} is not known here; one of {all}"),
        };
        self.report(codes::VALUE_REFUSED, path, Spot::Value, message);
        false
    }

    /// The value for a message, or a word in its place when it must not show.
    fn shown(&self, value: &Value, path: &Path) -> String {
        if self.is_hidden(path) {
            return "the value (not shown)".to_owned();
        }
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let cut: String = text.chars().take(60).collect();
        let more = if cut.len() < text.len() { "…" } else { "" };
        format!("`{}{more}`", crate::redact::mask(&cut))
    }
}

fn fits(value: &Value, named: &[&str]) -> bool {
    named.iter().any(|name| match *name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    })
}

/// Reads a text from the environment, a flag or a placeholder as what the schema wants.
fn read_as(value: &Value, named: &[&str]) -> Option<Value> {
    let text = value.as_str()?;
    let structured = text.trim_start().starts_with(['{', '[']);
    let read = if structured {
        yaml::parse(text).ok()?.value
    } else {
        yaml::plain(text.trim())
    };
    (!read.is_string() && fits(&read, named)).then_some(read)
}

fn out_of_bounds(number: &serde_json::Number, node: &Node<'_>, format: &str) -> Option<String> {
    let value = number.as_f64()?;
    let bound = |name: &str| node.get(name).and_then(Value::as_f64);
    if let Some(least) = bound("minimum").filter(|least| value < *least) {
        return Some(format!("is too small; at least {least}"));
    }
    if let Some(least) = bound("exclusiveMinimum").filter(|least| value <= *least) {
        return Some(format!("is too small; more than {least}"));
    }
    let limit = match format {
        "uint8" => Some(f64::from(u8::MAX)),
        "uint16" => Some(f64::from(u16::MAX)),
        "uint32" => Some(f64::from(u32::MAX)),
        "int32" => Some(f64::from(i32::MAX)),
        _ => None,
    };
    let most = bound("maximum").or(limit).filter(|most| value > *most)?;
    Some(format!("is too large; at most {most}"))
}

/// The key whose constant tells all variants apart.
fn tag_of<'s>(variants: &[Node<'s>]) -> Option<&'s str> {
    let is_tag = |key: &&str| {
        variants
            .iter()
            .all(|variant| variant.property(key).is_some_and(|tag| tag.get("const").is_some()))
    };
    variants.first()?.properties().into_keys().find(is_tag)
}

/// The one key of a variant such as `{jq: …}`.
fn only_key<'s>(variant: &Node<'s>) -> Option<&'s str> {
    match variant.required()[..] {
        [only] if variant.properties().len() == 1 => Some(only),
        _ => None,
    }
}

fn unknown<'n>(key: &str, names: impl Iterator<Item = &'n str> + Clone) -> String {
    match nearest(key, names.clone()) {
        Some(near) => format!("unknown key; did you mean `{near}`?"),
        None => {
            let shown: Vec<&str> = names.take(24).collect();
            if shown.is_empty() {
                "unknown key".to_owned()
            } else {
                format!("unknown key; known here: {}", quoted(shown.into_iter()))
            }
        }
    }
}

/// The nearest known name, when it is near enough to be what was meant.
pub(crate) fn nearest<'n>(key: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let key = plain(key);
    names
        .map(|name| (strsim::jaro_winkler(&key, &plain(name)), name))
        .filter(|(score, name)| *score > 0.85 || strsim::damerau_levenshtein(&key, &plain(name)) <= 2 && name.len() > 3)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn quoted<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn type_name(name: &str) -> &str {
    match name {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a section with keys",
        other => other,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(n) if n.is_f64() => "a number with a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a section with keys",
    }
}
