//! Text from events: minijinja templates over an event's attributes and data. An absent name is an error, not an empty text.
//!
//! Variables: `id`, `source`, `type`, `subject`, `time`, `datacontenttype`, `dataschema`, every extension by its name, and
//! `data` (of JSON what is named is read, with every digit; else text); of a group of events `events` and `count`. JSON's `null` is absent.
//!
//! | file | what is in it |
//! |---|---|
//! | `language` | what else a template can say, which is little, so that no template takes long or makes much |
//! | `tags` | what may stand in a tag; loops get a bound |
//! | `expressions` | the filters and tests that a tag calls; what it compares or calculates with |
//! | `filters` | what the filters do |
//! | `json`, `text` | JSON data as values; values as text |
//! | `variables` | events as variables |
//! | `work` | what a rendering may read |

use std::sync::Arc;

use cloudevents::Event;
use minijinja::value::Value;
use minijinja::{Environment, ErrorKind};

use openconnect_error::Failure;
use openconnect_error::{Error, Result};

mod expressions;
mod filters;
mod json;
mod language;
mod tags;
#[cfg(test)]
mod tests;
mod text;
mod variables;
mod work;

use text::{Bounded, OUTPUT};
pub use variables::Variables;
use work::Work;

use crate::codes;

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
        Self::compile_in(language::environment(false), text)
    }

    /// Compiles a template of a URL: its values are percent-encoded, all but unreserved characters, with or without `urlencode`.
    pub fn compile_url(text: &str) -> Result<Self> {
        Self::compile_in(language::environment(true), text)
    }

    fn compile_in(mut environment: Environment<'static>, text: &str) -> Result<Self> {
        if !["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)) {
            return Ok(Self {
                inner: Inner::Constant(text.into()),
            });
        }
        let wrong = |what: String| Error::config(codes::TEMPLATE_INVALID, format!("the template `{text}` is wrong: {what}"));
        environment
            .add_template_owned(NAME, tags::prepare(text).map_err(wrong)?)
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

    /// Renders for one event.
    ///
    /// # Errors
    ///
    /// A missing name, too much work, or output over 64 KiB: a permanent failure.
    pub fn render(&self, event: &Event) -> Result<String, Failure> {
        self.render_for(|work| variables::event(event, work))
    }

    /// Renders one text for several events, such as a message for people. The template sees the list `events`, each with the names that a
    /// template for one event sees, and `count`, their number.
    ///
    /// # Errors
    ///
    /// As of [`render`](Self::render). A loop goes over at most 1,000 events.
    ///
    /// ```
    /// use openconnect_transform::template::Template;
    /// # use cloudevents::{Event, EventBuilder, EventBuilderV10};
    /// # let event = |id: &str| EventBuilderV10::new().id(id).source("/alerts").ty("alert").build();
    /// let events = [event("1")?, event("2")?];
    /// let template = Template::compile("{{ count }} alerts:{% for e in events %} {{ e.type }} {{ e.id }}{% if not loop.last %},{% endif %}{% endfor %}")?;
    /// assert_eq!(template.render_group(&events)?, "2 alerts: alert 1, alert 2");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn render_group<'a>(&self, events: impl IntoIterator<Item = &'a Event>) -> Result<String, Failure> {
        self.render_for(|work| variables::events(events, work))
    }

    /// Renders with other variables than an event's.
    ///
    /// # Errors
    ///
    /// As of [`render`](Self::render).
    pub fn render_with(&self, variables: &Variables) -> Result<String, Failure> {
        self.render_for(|work| variables.value(work))
    }

    fn render_for(&self, variables: impl FnOnce(&Arc<Work>) -> Value) -> Result<String, Failure> {
        let environment = match &self.inner {
            Inner::Constant(text) => return Ok(text.to_string()),
            Inner::Compiled(environment) => environment,
        };
        let work = Arc::<Work>::default();
        let variables = variables(&work);
        let mut out = Bounded::default();
        let rendered = environment
            .get_template(NAME)
            .and_then(|template| template.render_captured_to(variables, &mut out).map(drop));
        let failed = |why: &str| {
            Err(Failure::permanent(
                codes::TEMPLATE_FAILED,
                format!("a template can't be rendered: {why}"),
            ))
        };
        match rendered {
            Ok(()) => work.failure().map_or_else(|| Ok(out.into_text()), failed),
            Err(e) if e.kind() == ErrorKind::WriteFailure => Err(Failure::permanent(
                codes::TEXT_TOO_LONG,
                format!("a template gives more than {OUTPUT} bytes"),
            )),
            Err(e) => failed(&describe(&e)),
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
