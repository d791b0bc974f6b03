//! What a template sees. Each name that it looks up is charged to the rendering's [`Work`].

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use cloudevents::event::ExtensionValue;
use cloudevents::{AttributesReader, Event};
use minijinja::value::{Object, Value};
use openconnect_protocol::payload;

use super::json;
use super::work::{self, Work};

/// The variables of a template that is about something else than an event.
///
/// ```
/// use openconnect_transform::template::{Template, Variables};
///
/// let variables = Variables::default()
///     .with_text("method", "POST")
///     .with_texts("query", [("page", "2")])
///     .with_json("data", "{\"id\":12345678901234567890123}");
/// let template = Template::compile("{{ method }} {{ query.page }} {{ data.id }}")?;
/// assert_eq!(template.render_with(&variables)?, "POST 2 12345678901234567890123");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Variables(BTreeMap<&'static str, Variable>);

#[derive(Debug, Clone)]
enum Variable {
    /// A value, and how many bytes it has.
    Value(Value, usize),
    /// Reading it is charged to a rendering.
    Json(Arc<str>),
}

impl Variables {
    /// With a text.
    #[must_use]
    pub fn with_text(self, name: &'static str, text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        let bytes = text.len();
        self.with(name, Variable::Value(text.into(), bytes))
    }

    /// With a map of texts. Of a name that comes twice, the last one counts.
    #[must_use]
    pub fn with_texts<N: Into<Arc<str>>, T: Into<Arc<str>>>(self, name: &'static str, texts: impl IntoIterator<Item = (N, T)>) -> Self {
        let texts = texts.into_iter().map(|(name, text)| (name.into(), Value::from(text.into())));
        let value = Value::from_object(texts.collect::<BTreeMap<Arc<str>, Value>>());
        let bytes = work::measure(&value);
        self.with(name, Variable::Value(value, bytes))
    }

    /// With what a text of JSON holds. What the text holds beside the members that a template names is not read.
    #[must_use]
    pub fn with_json(self, name: &'static str, json: impl Into<Arc<str>>) -> Self {
        self.with(name, Variable::Json(json.into()))
    }

    fn with(mut self, name: &'static str, variable: Variable) -> Self {
        self.0.insert(name, variable);
        self
    }

    pub(super) fn value(&self, work: &Arc<Work>) -> Value {
        let values = self.0.iter().map(|(name, variable)| {
            let value = match variable {
                Variable::Value(value, bytes) => (value.clone(), *bytes),
                Variable::Json(json) => (json::value(Arc::clone(json), work), json.len()),
            };
            (*name, value)
        });
        Value::from_object(Named {
            values: values.collect(),
            work: Arc::clone(work),
        })
    }
}

/// The variables of one event.
pub(super) fn event(event: &Event, work: &Arc<Work>) -> Value {
    Value::from_object(EventVariables {
        event: event.clone(),
        data: OnceLock::new(),
        work: Arc::clone(work),
    })
}

/// The variables of several events: `events`, each of which has an event's variables, and `count`.
pub(super) fn events<'a>(events: impl IntoIterator<Item = &'a Event>, work: &Arc<Work>) -> Value {
    let events: Vec<Value> = events.into_iter().map(|each| event(each, work)).collect();
    let count = events.len();
    let bytes = events.iter().map(work::measure).sum();
    let events = Variable::Value(Value::from(events), bytes);
    let variables = Variables::default()
        .with("events", events)
        .with("count", Variable::Value(Value::from(count), 0));
    variables.value(work)
}

/// The value, or the error where the rendering reads too much: minijinja raises it when it looks at the value.
fn charged(value: Value, bytes: usize, work: &Work) -> Value {
    match work.read(bytes) {
        Ok(()) => value,
        Err(error) => Value::from(error),
    }
}

/// Values by their names, each with its bytes.
#[derive(Debug)]
struct Named {
    values: BTreeMap<&'static str, (Value, usize)>,
    work: Arc<Work>,
}

impl Object for Named {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        let name = name.as_str()?;
        if name == work::NAME {
            return Some(Value::from_dyn_object(Arc::clone(&self.work)));
        }
        let (value, bytes) = self.values.get(name)?;
        (!value.is_undefined()).then(|| charged(value.clone(), *bytes, &self.work))
    }
}

/// The data is looked at only when a template asks for it.
#[derive(Debug)]
struct EventVariables {
    event: Event,
    data: OnceLock<Option<(Value, usize)>>,
    work: Arc<Work>,
}

impl Object for EventVariables {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        match name.as_str()? {
            work::NAME => Some(Value::from_dyn_object(Arc::clone(&self.work))),
            "data" => {
                let (data, bytes) = self.data.get_or_init(|| data(&self.event, &self.work)).as_ref()?;
                Some(charged(data.clone(), *bytes, &self.work))
            }
            name => {
                let value = attribute(&self.event, name)?;
                let bytes = value.as_str().map_or(0, str::len);
                Some(charged(value, bytes, &self.work))
            }
        }
    }
}

fn attribute(event: &Event, name: &str) -> Option<Value> {
    match name {
        "id" => Some(event.id().into()),
        "source" => Some(event.source().as_str().into()),
        "type" => Some(event.ty().into()),
        "subject" => event.subject().map(Into::into),
        "time" => event
            .time()
            .map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true).into()),
        "datacontenttype" => event.datacontenttype().map(Into::into),
        "dataschema" => event.dataschema().map(|schema| schema.as_str().into()),
        name => event.extension(name).map(|value| match value {
            ExtensionValue::String(text) => text.as_str().into(),
            ExtensionValue::Boolean(value) => (*value).into(),
            ExtensionValue::Integer(value) => (*value).into(),
        }),
    }
}

/// The data as a value, and the bytes that it is made of.
fn data(event: &Event, work: &Arc<Work>) -> Option<(Value, usize)> {
    if let Some(json) = payload::json(event) {
        let bytes = json.len();
        let data = json::value(json.into(), work);
        return (!data.is_undefined()).then_some((data, bytes));
    }
    let bytes = payload::bytes(event)?;
    let text = std::str::from_utf8(&bytes).ok()?;
    Some((text.into(), text.len()))
}
