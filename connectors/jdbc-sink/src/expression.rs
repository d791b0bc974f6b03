//! Expressions of the configuration: an attribute, the data, or a path into it.

use std::borrow::Cow;
use std::cell::OnceCell;

use openconnect_change::{ByName, Input};
use openconnect_core::Failure;
use openconnect_core::cloudevents::event::ExtensionValue;
use openconnect_core::cloudevents::{AttributesReader, Event};
use openconnect_protocol::payload;
use serde_json::value::RawValue;

use crate::codes;

/// The members of an object, unread.
pub(crate) type Object<'a> = ByName<'a, &'a RawValue>;

/// The event's data while it is read: text that is meant as JSON.
pub(crate) struct Data<'a>(Option<Cow<'a, str>>);

impl<'a> Data<'a> {
    pub(crate) fn of(event: &'a Event) -> Self {
        Self(payload::json_text(event))
    }

    pub(crate) fn json(&self) -> Option<&str> {
        self.0.as_deref().filter(|json| json.trim() != "null")
    }

    /// Is it JSON that says that there is none?
    pub(crate) fn is_null(&self) -> bool {
        self.0.is_some() && self.json().is_none()
    }
}

/// What expressions of the configuration say of an event. Its data is taken apart once, when the first asks for it.
pub(crate) struct Expressions<'a> {
    event: &'a Event,
    data: &'a Data<'a>,
    top: OnceCell<Option<Object<'a>>>,
}

impl<'a> Expressions<'a> {
    pub(crate) fn new(event: &'a Event, data: &'a Data<'_>) -> Self {
        Self {
            event,
            data,
            top: OnceCell::new(),
        }
    }

    /// A path through something that is no object leads nowhere: null, as for an absent field.
    pub(crate) fn value(&self, expression: &str) -> Result<Input<'a>, Failure> {
        if expression == "data" {
            return Ok(whole(self.event, self.data));
        }
        let Some(path) = expression.strip_prefix("data.") else {
            return Ok(attribute(self.event, expression).unwrap_or(Input::Null));
        };
        let mut names = path.split('.');
        let mut found = names.next().and_then(|name| self.top()?.get(name).copied());
        for name in names {
            let Some(raw) = found else { break };
            found = serde_json::from_str::<Object<'_>>(raw.get())
                .ok()
                .and_then(|fields| fields.get(name).copied());
        }
        match found {
            Some(raw) => Ok(Input::Json(raw)),
            None if self.top().is_none() && !self.is_json() => Err(not_json()),
            None => Ok(Input::Null),
        }
    }

    fn top(&self) -> Option<&Object<'a>> {
        self.top.get_or_init(|| serde_json::from_str(self.data.json()?).ok()).as_ref()
    }

    /// Is the data JSON, or is there none?
    fn is_json(&self) -> bool {
        match self.data.0.as_deref() {
            Some(json) => payload::valid_json(json),
            None => self.event.data().is_none(),
        }
    }
}

pub(crate) fn not_json() -> Failure {
    Failure::permanent(codes::SQL_NOT_JSON, "the event's data can't be read as JSON")
}

/// The whole data: JSON, text, or bytes.
fn whole<'a>(event: &'a Event, data: &'a Data<'_>) -> Input<'a> {
    if let Some(Ok(raw)) = data.0.as_deref().map(serde_json::from_str) {
        return Input::Json(raw);
    }
    payload::bytes(event).map_or(Input::Null, Input::Bytes)
}

pub(crate) fn attribute<'a>(event: &'a Event, name: &str) -> Option<Input<'a>> {
    let text = |text: &'a str| Some(Input::Text(Cow::Borrowed(text)));
    match name {
        "id" => text(event.id()),
        "source" => text(event.source()),
        "type" => text(event.ty()),
        "subject" => text(event.subject()?),
        "datacontenttype" => text(event.datacontenttype()?),
        "dataschema" => text(event.dataschema()?.as_str()),
        "time" => Some(Input::Text(Cow::Owned(event.time()?.to_rfc3339()))),
        name => Some(match event.extension(name)? {
            ExtensionValue::String(value) => Input::Text(Cow::Borrowed(value)),
            ExtensionValue::Boolean(value) => Input::Bool(*value),
            ExtensionValue::Integer(value) => Input::Integer(*value),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use openconnect_core::Code;
    use openconnect_core::cloudevents::{EventBuilder as _, EventBuilderV10};

    use super::*;

    fn value(json: &str, expression: &str) -> Result<Option<String>, Code> {
        let event = EventBuilderV10::new().id("7").source("/s").ty("t");
        let event = event.data("application/json", json.to_owned()).build().unwrap();
        let data = Data::of(&event);
        match Expressions::new(&event, &data).value(expression) {
            Ok(Input::Json(raw)) => Ok(Some(raw.get().to_owned())),
            Ok(Input::Text(text)) => Ok(Some(text.into_owned())),
            Ok(_) => Ok(None),
            Err(failure) => Err(failure.code),
        }
    }

    #[test]
    fn a_path_leads_to_a_value_or_nowhere() {
        let json = r#"{ "a": { "b": 1.50, "c": { "d": [null] } }, "e": 1, "e": 2 }"#;
        for (expression, expected) in [
            ("id", Some("7")),
            ("data", Some(json)),
            ("data.a.b", Some("1.50")),
            ("data.a.c.d", Some("[null]")),
            ("data.e", Some("2")),
            ("data.e.f", None),
            ("data.x", None),
            ("data.a.x.y", None),
            ("nothing", None),
        ] {
            assert_eq!(value(json, expression), Ok(expected.map(str::to_owned)), "{expression}");
        }
        assert_eq!(value("[1]", "data.a"), Ok(None));
        assert_eq!(value("null", "data.a"), Ok(None));
        assert_eq!(value("{ broken", "data.a"), Err(codes::SQL_NOT_JSON));
    }
}
