//! Text from events: minijinja templates over an event's attributes and data. An absent name is an error, not an empty text.
//!
//! Variables: `id`, `source`, `type`, `subject`, `time`, `datacontenttype`, `dataschema`, every extension by its name, and
//! `data` (parsed when it is JSON, else text). `language.rs`: what else a template can say, which is little, so that no
//! template takes long or makes much.

use std::sync::{Arc, OnceLock};

use cloudevents::event::ExtensionValue;
use cloudevents::{AttributesReader, Event};
use minijinja::value::{Object, Value};
use minijinja::{Environment, ErrorKind};
use openconnect_protocol::payload;

use openconnect_config::error::{Error, Result};
use openconnect_config::failure::Failure;

mod language;

use language::{Bounded, OUTPUT};

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
        Self::compile_in(language::environment(), text)
    }

    /// Compiles a template whose values go through `escape` before they stand in the text, such as those of a URL.
    pub fn compile_escaped(text: &str, escape: fn(&str) -> String) -> Result<Self> {
        let mut environment = language::environment();
        environment.set_formatter(move |out, _, value| {
            let escaped = match value.as_str() {
                Some(text) => escape(text),
                None => escape(&value.to_string()),
            };
            Ok(out.write_str(&escaped)?)
        });
        Self::compile_in(environment, text)
    }

    fn compile_in(mut environment: Environment<'static>, text: &str) -> Result<Self> {
        if !["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)) {
            return Ok(Self {
                inner: Inner::Constant(text.into()),
            });
        }
        let wrong = |what: String| Error::config("OC0121", format!("the template `{text}` is wrong: {what}"));
        if let Some(what) = language::refused(text) {
            return Err(wrong(what));
        }
        environment
            .add_template_owned(NAME, text.to_owned())
            .map_err(|e| wrong(describe(&e)))?;
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
        match &self.inner {
            Inner::Constant(text) => Ok(text.to_string()),
            Inner::Compiled(_) => self.render_with(Value::from_object(EventVariables::new(event.clone()))),
        }
    }

    /// Renders with other variables than an event's: a map, or anything that serialises to one.
    pub fn render_with(&self, variables: Value) -> Result<String, Failure> {
        let environment = match &self.inner {
            Inner::Constant(text) => return Ok(text.to_string()),
            Inner::Compiled(environment) => environment,
        };
        let mut out = Bounded::default();
        let rendered = environment
            .get_template(NAME)
            .and_then(|template| template.render_captured_to(variables, &mut out).map(drop));
        match rendered {
            Ok(()) => Ok(out.into_text()),
            Err(e) if e.kind() == ErrorKind::WriteFailure => {
                Err(Failure::permanent("OC0441", format!("a template gives more than {OUTPUT} bytes")))
            }
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

/// An event as template variables; the data is parsed only when a template asks for it, and once.
#[derive(Debug)]
struct EventVariables {
    event: Event,
    data: OnceLock<Option<Value>>,
}

impl EventVariables {
    fn new(event: Event) -> Self {
        Self {
            event,
            data: OnceLock::new(),
        }
    }
}

impl Object for EventVariables {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        let event = &self.event;
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
            "data" => self.data.get_or_init(|| data(event)).clone(),
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
    }

    #[test]
    fn a_template_that_could_take_long_or_make_much_is_refused_or_stopped() {
        let long = "\"<'\\\\".repeat(60_000);
        let data = serde_json::json!({ "text": long, "list": [long, long], "short": "ab" }).to_string();
        let event = EventBuilderV10::new().id("1").source("/s").ty("t");
        let event = event.data("application/json", data).build().unwrap();
        for refused in [
            "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
            "{% set x = data %}{{ x }}",
            "{%- with x = data %}{{ x }}{% endwith %}",
            "{% filter upper %}x{% endfilter %}",
            "{% macro f() %}{{ f() }}{% endmacro %}",
            "{{ 'x' * 100000000 }}",
            "{{ data.text ~ data.text }}",
            "{{ data.text + data.text }}",
            "{{ '}}' ~ data.text }}",
            "{# }} #}{{ 'a\\'' ~ data.text }}",
            &format!("{{{{ {} }}}}", "(".repeat(3_000)),
            &format!("{{{{ id{} }}}}", " | upper".repeat(1_000)),
        ] {
            assert_eq!(Template::compile(refused).unwrap_err().code, "OC0121", "{refused}");
        }
        for stopped in [
            "{{ range(3) }}",
            "{{ data.list | map('upper') }}",
            "{{ data.list | batch(1000000000) }}",
            "{{ data.text | indent(1000000000) }}",
            "{{ data.text }}",
            "{{ data.list | join(data.text) }}",
            "{{ data.text | replace('', data.text) }}",
            "{{ data.short | tojson | tojson | tojson | tojson | tojson | tojson | tojson | tojson | tojson | tojson | tojson \
             | tojson | tojson | tojson | tojson | tojson | tojson | tojson | tojson | tojson | tojson | length }}",
            "{{ data.text | urlencode | length }}",
            &"{{ data.short | replace('a', id) | urlencode }}{{ data.text }}".repeat(50),
        ] {
            let failure = Template::compile(stopped).unwrap().render(&event).unwrap_err();
            assert!(["OC0440", "OC0441"].contains(&failure.code.as_str()), "{stopped}: {failure}");
            assert!(!failure.message.contains("\"<'"), "{failure}");
        }
        for (fine, text) in [
            (
                "{% if data.short is defined and data.text %}{{ data.short }}{%- else -%}none{% endif %}",
                "ab",
            ),
            ("{{ data.short[:1] | upper }}~{{ data.list | length }}*+", "A~2*+"),
            ("{{ data.short | replace('a', '+~*') }}", "+~*b"),
            ("{{ data.short | tojson }}{{ [1, 'x'] | join('-') }}{# ~ #}", "\"ab\"1-x"),
        ] {
            assert_eq!(Template::compile(fine).unwrap().render(&event).unwrap(), text, "{fine}");
        }
    }
}
