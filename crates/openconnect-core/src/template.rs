//! Text from events: minijinja templates over an event's attributes and data. An absent name is an error, not an empty text.
//!
//! Variables: `id`, `source`, `type`, `subject`, `time`, `datacontenttype`, `dataschema`, every extension by its name, and
//! `data` (parsed when it is JSON, else text). Filters: minijinja's own, among them `default`, `tojson`, `urlencode`.

use std::sync::Arc;

use cloudevents::event::ExtensionValue;
use cloudevents::{AttributesReader, Event};
use minijinja::value::{Object, Value};
use minijinja::{Environment, UndefinedBehavior};
use openconnect_protocol::payload;

use crate::error::{Error, Result};
use crate::failure::Failure;

/// Instructions that one rendering may take.
const FUEL: u64 = 50_000;
/// Longest rendered text in bytes.
const OUTPUT: usize = 64 << 10;
const NAME: &str = "template";

/// A compiled template.
#[derive(Debug, Clone)]
pub struct Template {
    inner: Inner,
}

#[derive(Debug, Clone)]
enum Inner {
    Constant(Arc<str>),
    Compiled(Arc<Environment<'static>>),
}

impl Template {
    /// Compiles a template; the error says where it is wrong.
    pub fn compile(text: &str) -> Result<Self> {
        if !["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)) {
            return Ok(Self {
                inner: Inner::Constant(text.into()),
            });
        }
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.add_filter("urlencode", urlencode);
        environment
            .add_template_owned(NAME, text.to_owned())
            .map_err(|e| Error::config("OC0121", format!("the template `{text}` is wrong: {}", describe(&e))))?;
        Ok(Self {
            inner: Inner::Compiled(Arc::new(environment)),
        })
    }

    /// The text, when it is the same for every event.
    pub fn constant(&self) -> Option<&str> {
        match &self.inner {
            Inner::Constant(text) => Some(text),
            Inner::Compiled(_) => None,
        }
    }

    /// Is the text the same for every event?
    pub fn is_constant(&self) -> bool {
        self.constant().is_some()
    }

    /// Renders for one event. A missing name, or output over 64 KiB, is a permanent failure.
    pub fn render(&self, event: &Event) -> Result<String, Failure> {
        self.render_with(Value::from_object(EventVariables(event.clone())))
    }

    /// Renders with other variables than an event's: a map, or anything that serialises to one.
    pub fn render_with(&self, variables: Value) -> Result<String, Failure> {
        let environment = match &self.inner {
            Inner::Constant(text) => return Ok(text.to_string()),
            Inner::Compiled(environment) => environment,
        };
        let rendered = environment.get_template(NAME).and_then(|template| template.render(variables));
        match rendered {
            Ok(text) if text.len() <= OUTPUT => Ok(text),
            Ok(text) => Err(Failure::permanent(
                "OC0441",
                format!("a template gave {} bytes, the limit is {OUTPUT}", text.len()),
            )),
            Err(e) => Err(Failure::permanent(
                "OC0440",
                format!("a template can't be rendered: {}", describe(&e)),
            )),
        }
    }
}

/// minijinja's error without the values that its debug output shows.
fn describe(error: &minijinja::Error) -> String {
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
    let source = error
        .range()
        .and_then(|range| Some(format!(" at `{}`", error.template_source()?.get(range)?)))
        .unwrap_or_default();
    format!("{}{detail}{source}{line}", error.kind())
}

fn urlencode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// An event as template variables; the data is parsed only when a template asks for it.
#[derive(Debug)]
struct EventVariables(Event);

impl Object for EventVariables {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        let event = &self.0;
        match name.as_str()? {
            "id" => Some(event.id().into()),
            "source" => Some(event.source().as_str().into()),
            "type" => Some(event.ty().into()),
            "subject" => event.subject().map(Into::into),
            "time" => event
                .time()
                .map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true).into()),
            "datacontenttype" => event.datacontenttype().map(Into::into),
            "dataschema" => event.dataschema().map(|schema| schema.as_str().into()),
            "data" => data(event),
            name => event.extension(name).map(|value| match value {
                ExtensionValue::String(text) => text.as_str().into(),
                ExtensionValue::Boolean(value) => (*value).into(),
                ExtensionValue::Integer(value) => (*value).into(),
            }),
        }
    }
}

fn data(event: &Event) -> Option<Value> {
    if let Some(json) = payload::json(event) {
        return serde_json::from_str::<serde_json::Value>(&json).ok().map(Value::from_serialize);
    }
    let bytes = payload::bytes(event)?;
    std::str::from_utf8(&bytes).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use cloudevents::{EventBuilder, EventBuilderV10};

    #[test]
    fn attributes_extensions_and_data_are_there_and_what_is_missing_is_named() {
        let event = EventBuilderV10::new()
            .id("1")
            .source("/s")
            .ty("t")
            .extension("partitionkey", "a/b")
            .data("application/json", "{\"order\":{\"id\":12345678901234567}}".to_owned())
            .build()
            .unwrap();
        let render = |text: &str| Template::compile(text).unwrap().render(&event);
        assert_eq!(
            render("/{{ type }}/{{ partitionkey | urlencode }}/{{ data.order.id }}").unwrap(),
            "/t/a%2Fb/12345678901234567"
        );
        assert_eq!(render("{{ subject | default('none') }}").unwrap(), "none");
        let failure = render("x {{ data.order.name }}").unwrap_err();
        assert!(failure.message.contains("order.name"), "{failure}");
        assert!(Template::compile("{{ data.").is_err());
        assert!(Template::compile("plain").unwrap().is_constant());
        assert!(render("{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}").is_err());
    }
}
