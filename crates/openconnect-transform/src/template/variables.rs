//! What a template sees. Each name that it looks up is charged to the rendering's [`Work`].

use std::sync::{Arc, OnceLock};

use cloudevents::event::ExtensionValue;
use cloudevents::{AttributesReader, Event};
use minijinja::value::{Object, Value};
use openconnect_protocol::payload;

use super::work::{self, Work};

/// Variables out of `values`, a map.
pub(super) fn values(values: Value, work: &Arc<Work>) -> Value {
    Value::from_object(Values {
        values,
        bytes: OnceLock::new(),
        work: Arc::clone(work),
    })
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
    values(minijinja::context! { events, count }, work)
}

/// The value, or the error where the rendering reads too much: minijinja raises it when it looks at the value.
fn charged(value: Value, bytes: usize, work: &Work) -> Value {
    match work.read(bytes) {
        Ok(()) => value,
        Err(error) => Value::from(error),
    }
}

#[derive(Debug)]
struct Values {
    values: Value,
    /// What they hold together.
    bytes: OnceLock<usize>,
    work: Arc<Work>,
}

impl Object for Values {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        if name.as_str() == Some(work::NAME) {
            return Some(Value::from_dyn_object(Arc::clone(&self.work)));
        }
        let value = self.values.get_item(name).ok().filter(|value| !value.is_undefined())?;
        let bytes = value
            .as_str()
            .map_or_else(|| *self.bytes.get_or_init(|| work::measure(&self.values)), str::len);
        Some(charged(value, bytes, &self.work))
    }
}

/// The data is parsed only when a template asks for it, and once.
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
                let (data, bytes) = self.data.get_or_init(|| data(&self.event)).as_ref()?;
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
fn data(event: &Event) -> Option<(Value, usize)> {
    if let Some(json) = payload::json(event) {
        let data = serde_json::from_str::<serde_json::Value>(&json).ok()?;
        return Some((Value::from_serialize(data), json.len()));
    }
    let bytes = payload::bytes(event)?;
    let text = std::str::from_utf8(&bytes).ok()?;
    Some((text.into(), text.len()))
}
